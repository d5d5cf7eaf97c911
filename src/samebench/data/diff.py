"""What has changed between two versions of a data set: how many examples of each category.

python -m samebench.data.diff A [B] [--dataset NAME] [--json]    A and B are revisions of git; B is what lies in data/

Without a name, of every set that one of the two has; of data/, of those of which something is there. Where the
project's task does not read the examples of a set, its files are compared; the category of a file is its folder.
An example is known by its content, whatever its place. What is left over is known by its name, and has changed if the
other version has that too; the rest was added or removed.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Self

from samebench import project
from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.core.table import align
from samebench.core.text import printable
from samebench.data import checkout, digests, versions

COLUMNS = ("added", "removed", "changed", "relabelled to", "relabelled from", "moved")


@dataclass(frozen=True)
class Example:
    """One example of a version: its content's SHA-256, its category, its part, and its name or place."""

    content: str
    label: str
    part: str
    name: str


@dataclass
class Change:
    """What has happened to the examples of one category; `a` and `b` are how many there are."""

    a: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0  # other content under the same name
    relabelled_to: int = 0  # came from another category
    relabelled_from: int = 0  # went to another one
    moved: int = 0  # to another part, training to test for example
    b: int = 0

    def values(self) -> list[int]:
        """The counts in the order of the columns."""
        return [getattr(self, each.name) for each in fields(self)]


@dataclass(frozen=True)
class Diff:
    """The changes of a data set by category, and whether they are of examples or of files."""

    changes: Mapping[str, Change]
    unit: str

    @property
    def total(self) -> Change:
        """The changes in all categories together."""
        return Change(*(sum(values) for values in zip(*(each.values() for each in self.changes.values()), strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        return {"categories": {label: vars(change) for label, change in self.changes.items()}, "all": vars(self.total)}

    def table(self, name: str, a: str, b: str) -> str:
        """A row for each category of the set `name`, and one for all of them."""
        rows = [["", "in A", *COLUMNS, "in B"]]
        for label, change in [*self.changes.items(), ("all", self.total)]:
            rows.append([printable(label), *(f"{value:,}" for value in change.values())])
        which = f"data/{name}: A is {a}, B is {b or 'what is there now'}"
        return "\n".join([which, *align(rows, numbers=range(1, len(rows[0])))])


def diff_examples(a: Iterable[Example], b: Iterable[Example]) -> dict[str, Change]:
    """What has changed from one version to the other, by category.

    In each row a + added - removed + relabelled_to - relabelled_from = b.
    """
    before, after = list(a), list(b)
    changes: defaultdict[str, Change] = defaultdict(Change)
    for example in before:
        changes[example.label].a += 1
    for example in after:
        changes[example.label].b += 1
    # From the surest likeness to the faintest, so that one example's fate doesn't hang on the order of the others.
    likenesses: list[Callable[[Example], Hashable]] = [
        lambda example: example,
        lambda example: (example.content, example.label, example.part),
        lambda example: (example.content, example.label),
        lambda example: (example.content, example.part, example.name),
        lambda example: example.content,
        lambda example: (example.part, example.name, example.label),
        lambda example: (example.part, example.name),
    ]
    for likeness in likenesses:
        pairs, before, after = _pair(before, after, likeness)
        for old, new in pairs:
            _note(changes, old, new)
    for example in before:
        changes[example.label].removed += 1
    for example in after:
        changes[example.label].added += 1
    return dict(changes)


def _pair(
    before: list[Example], after: list[Example], likeness: Callable[[Example], Hashable]
) -> tuple[list[tuple[Example, Example]], list[Example], list[Example]]:
    """Pairs of examples that are alike, and what is left of either version."""
    waiting: defaultdict[Hashable, list[Example]] = defaultdict(list)
    for example in reversed(before):
        waiting[likeness(example)].append(example)
    pairs, unmatched = [], []
    for example in after:
        if candidates := waiting.get(likeness(example)):
            pairs.append((candidates.pop(), example))
        else:
            unmatched.append(example)
    return pairs, [example for examples in waiting.values() for example in reversed(examples)], unmatched


def _note(changes: defaultdict[str, Change], old: Example, new: Example) -> None:
    changes[new.label].changed += old.content != new.content
    changes[new.label].moved += old.part != new.part
    changes[new.label].relabelled_to += old.label != new.label
    changes[old.label].relabelled_from += old.label != new.label


# ---- two versions ----


@dataclass(frozen=True)
class Side:
    """A version of a data set, and its files: of a revision of git, or, where that is empty, of what is in data/."""

    name: str
    revision: str
    files: Collection[str]  # names; of a revision a listing

    @classmethod
    def of(cls, name: str, revision: str, *, optional: bool) -> Self:
        """The version in a revision; an `optional` one may have no files. Raises UsageError where it is not there."""
        names = versions.dataset_names_in(revision, root=ROOT) if revision else versions.dataset_names(ROOT)
        if optional and name not in names:
            return cls(name, revision, ())
        if revision:
            return cls(name, revision, versions.load_version(name, revision=revision, root=ROOT).listing)
        if not (files := versions.local_files(versions.folder_of(name, root=ROOT))):
            raise UsageError(f"data/{name}: no files there; make data DATASET={name} first")
        return cls(name, revision, files)

    @property
    def folder(self) -> Path:
        """Where the set is in data/."""
        return ROOT / "data" / self.name

    def hashes(self) -> list[Example]:
        """Each file, with the hash that git has of it, or that of what is in data/."""
        listing = self.files if isinstance(self.files, Mapping) else {}
        hashes = {each: listing.get(each) or digests.sha256(self.folder / each) for each in self.files}
        return [Example(sha256, PurePosixPath(each).parent.as_posix(), "", each) for each, sha256 in hashes.items()]

    def examples(self, read: Callable[[Path], list[Example]]) -> list[Example]:
        """Each example; the files come to a temporary folder where data/ has a different version."""
        if not self.revision:
            return read(self.folder)
        version = versions.load_version(self.name, revision=self.revision, root=ROOT)
        if (ROOT / f"data/{self.name}.sha256").is_file() and not versions.mismatched_files(version, self.folder):
            return read(self.folder)
        with tempfile.TemporaryDirectory(prefix="samebench-") as temporary:
            place = Path(temporary, self.name)
            checkout.check_out(version, place, root=ROOT, public=project.upstream_fetchers().get(self.name))
            return read(place)


def compare(name: str, a: str, b: str, *, optional: bool = False) -> Diff:
    """What has changed in the set `name` from one revision to the other; an `optional` set may be new, or gone."""
    task = project.task()
    sides = [Side.of(name, revision, optional=optional) for revision in (a, b)]
    readers = [task.example_reader(side.files) for side in sides]
    by_file = any(side.files and not reader for side, reader in zip(sides, readers, strict=True))
    before, after = (
        side.examples(reader) if reader and not by_file else side.hashes()
        for side, reader in zip(sides, readers, strict=True)
    )
    return Diff(dict(sorted(diff_examples(before, after).items())), "files" if by_file else "examples")


def main(argv: Sequence[str]) -> None:
    """Print the table, or the same as JSON."""
    parser = argparse.ArgumentParser(prog="diff", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b", nargs="?", default="")
    parser.add_argument("--dataset", default="")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    if not args.a:
        raise UsageError("A=: give a revision of git, such as A=HEAD~1 or A=main; B= is another, or what is in data/")
    diffs, failures = {}, []
    for name in [args.dataset] if args.dataset else _dataset_names(args.a, args.b):
        try:
            diffs[name] = compare(name, args.a, args.b, optional=not args.dataset)
        except (UsageError, RequirementError) as reason:  # the others are compared nevertheless
            failures.append(reason)
    if not diffs and not failures:
        raise UsageError("data/: no set is there to compare; first make data, or give B=")
    if args.json:
        sets = {name: diff.to_dict() for name, diff in diffs.items()}
        print(json.dumps({"a": args.a, "b": args.b or None, "sets": sets}, indent=2))
    elif diffs:
        print("\n\n".join(_describe(diff, name, args) for name, diff in diffs.items()))
    for each in failures[:-1]:
        print(f"error: {printable(each)}", file=sys.stderr)
    if failures:
        raise failures[-1]


def _dataset_names(a: str, b: str) -> list[str]:
    """The sets that one of both versions has; of what is in data/, those of which something is there."""
    in_a = {*versions.dataset_names_in(a, root=ROOT)}
    if b:
        return sorted(in_a | {*versions.dataset_names_in(b, root=ROOT)})
    return sorted((in_a - {*versions.dataset_names(ROOT)}) | {*versions.local_datasets(ROOT)})


def _describe(diff: Diff, name: str, args: argparse.Namespace) -> str:
    """The table of a set; a line where nothing has changed and it was not asked for by name."""
    if args.dataset or any(diff.total.values()[1:-1]):
        return diff.table(name, args.a, args.b)
    return f"data/{name}: the same {diff.total.b:,} {diff.unit} in {args.a} and {args.b or 'what is there now'}"


if __name__ == "__main__":
    command.run(main)
