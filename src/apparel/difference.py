"""What has changed between two versions of a data set: how many images of each category.

python -m apparel.difference A [B] [--dataset NAME] [--json]    A and B are revisions of git; B is what lies in data/

Without a name, of every set that one of the two has; of data/, of those of which something is there.
An image is known by its content, whatever its place. What is left over is known by its name, or by its place in an idx
file, and has changed if the other version has that too; the rest was added or removed.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from apparel import data, dataset
from apparel.dataset import Dataset
from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.table import align
from samebench.data import checkout, versions


@dataclass(frozen=True)
class Image:
    """One image of a version: its content's SHA-256, its category, its part, and its name or place."""

    content: str
    label: str
    part: str
    name: str


@dataclass
class Change:
    """What has happened to the images of one category; `a` and `b` are how many there are."""

    a: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0  # other content under the same name
    relabelled_to: int = 0  # came from another category
    relabelled_from: int = 0  # went to another one
    moved: int = 0  # to another part, training to test for example
    b: int = 0


def difference(a: Iterable[Image], b: Iterable[Image]) -> dict[str, Change]:
    """What has changed from one version to the other, by category.

    In each row a + added - removed + relabelled_to - relabelled_from = b.
    """
    before, after = list(a), list(b)
    changes: defaultdict[str, Change] = defaultdict(Change)
    for image in before:
        changes[image.label].a += 1
    for image in after:
        changes[image.label].b += 1
    # From the surest likeness to the faintest, so that one image's fate doesn't hang on the order of the others.
    likenesses: list[Callable[[Image], Hashable]] = [
        lambda image: image,
        lambda image: (image.content, image.label, image.part),
        lambda image: (image.content, image.label),
        lambda image: (image.content, image.part, image.name),
        lambda image: image.content,
        lambda image: (image.part, image.name, image.label),
        lambda image: (image.part, image.name),
    ]
    for likeness in likenesses:
        pairs, before, after = _pair(before, after, likeness)
        for old, new in pairs:
            _note(changes, old, new)
    for image in before:
        changes[image.label].removed += 1
    for image in after:
        changes[image.label].added += 1
    return dict(changes)


def _pair(
    before: list[Image], after: list[Image], likeness: Callable[[Image], Hashable]
) -> tuple[list[tuple[Image, Image]], list[Image], list[Image]]:
    """Pairs of images that are alike, and what is left of either version."""
    waiting: defaultdict[Hashable, list[Image]] = defaultdict(list)
    for image in reversed(before):
        waiting[likeness(image)].append(image)
    pairs, left = [], []
    for image in after:
        if alike := waiting.get(likeness(image)):
            pairs.append((alike.pop(), image))
        else:
            left.append(image)
    return pairs, [image for images in waiting.values() for image in reversed(images)], left


def _note(changes: defaultdict[str, Change], old: Image, new: Image) -> None:
    changes[new.label].changed += old.content != new.content
    changes[new.label].moved += old.part != new.part
    changes[new.label].relabelled_to += old.label != new.label
    changes[old.label].relabelled_from += old.label != new.label


# ---- reading ----


def images(folder: Path) -> list[Image]:
    """Every image of a version in `folder`, in either form: a sealed file of its own, or four idx files.

    Raises UsageError where it is neither, or damaged.
    """
    if (path := folder / dataset.FILE).is_file():
        known = Dataset.load(path)
        parts = [dataset.PARTS[number] for number in known.parts.tolist()]
        return _images(known.images, known.labels, known.categories, parts, known.names)
    return [image for part in ("train", "t10k") for image in _of_idx(folder, part)]


def _of_idx(folder: Path, part: str) -> list[Image]:
    paths = [folder / f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: not there; make data DATASET={folder.name} first")
    pixels, labels = (data.read_idx(path.read_bytes()) for path in paths)
    if len(pixels) != len(labels) or bool((labels >= len(data.LABELS)).any()):
        raise UsageError(
            f"{folder}: {len(pixels)} images and {len(labels)} labels in the part {part}; mend one of the files"
        )
    places = [str(place) for place in range(len(labels))]
    return _images(pixels, labels, data.LABELS, ["training" if part == "train" else "test"] * len(labels), places)


def _images(
    pixels: Tensor, labels: Tensor, known: Sequence[str], parts: Sequence[str], names: Sequence[str]
) -> list[Image]:
    shape = str(tuple(pixels.shape[1:])).encode()
    contents = [hashlib.sha256(shape + one.tobytes()).hexdigest() for one in pixels.numpy()]
    return [Image(*each) for each in zip(contents, (known[n] for n in labels.tolist()), parts, names, strict=True)]


def of_revision(revision: str, name: str) -> list[Image]:
    """Every image of the set `name` as a revision of git names it, brought to a folder that is thrown away."""
    version = versions.load_version(name, revision=revision, root=data.ROOT)
    folder = data.ROOT / "data" / name
    if (data.ROOT / f"data/{name}.sha256").is_file() and not versions.mismatched_files(version, folder):
        return images(folder)
    with tempfile.TemporaryDirectory(prefix="samebench-") as temporary:
        place = Path(temporary, name)
        checkout.check_out(version, place, root=data.ROOT, public=data.fetch_published if name == data.NAME else None)
        return images(place)


# ---- telling ----

COLUMNS = ("added", "removed", "changed", "relabelled to", "relabelled from", "moved")


def table(changes: dict[str, Change], name: str, a: str, b: str) -> str:
    """A row for each category of the set `name`, and one for all of them."""
    rows = [["", "in A", *COLUMNS, "in B"]]
    for label, change in [*changes.items(), ("all", _total(changes))]:
        rows.append([label, *(f"{value:,}" for value in _values(change))])
    which = f"data/{name}: A is {a}, B is {b or 'what is there now'}"
    return "\n".join([which, *align(rows, numbers=range(1, len(rows[0])))])


def _values(change: Change) -> list[int]:
    return [getattr(change, each.name) for each in fields(change)]


def _total(changes: dict[str, Change]) -> Change:
    return Change(*(sum(values) for values in zip(*map(_values, changes.values()), strict=True)))


def main(argv: Sequence[str]) -> None:
    """Print the table, or the same as JSON."""
    parser = argparse.ArgumentParser(prog="difference", description=__doc__.splitlines()[0])
    parser.add_argument("a")
    parser.add_argument("b", nargs="?", default="")
    parser.add_argument("--dataset", default="")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args(argv)
    if not asked.a:
        raise UsageError("A=: give a revision of git, such as A=HEAD~1 or A=main; B= is another, or what is in data/")
    known = [set(versions.dataset_names_in(revision, root=data.ROOT)) for revision in (asked.a, asked.b) if revision]
    if not asked.b:
        known = [(known[0] - {*versions.dataset_names(data.ROOT)}) | {*versions.local_datasets(data.ROOT)}]
    made, failures = {}, []
    for name in [asked.dataset] if asked.dataset else sorted(set().union(*known)):
        try:
            made[name] = compared(name, asked)
        except (UsageError, RequirementError) as reason:  # the others are compared nevertheless
            failures.append(reason)
    if not made and not failures:
        raise UsageError("data/: no set is there to compare; first make data, or give B=")
    if asked.json:
        told = {"a": asked.a, "b": asked.b or None, "sets": {name: _told(changes) for name, changes in made.items()}}
        print(json.dumps(told, indent=2))
    elif made:
        print("\n\n".join(shown(changes, name, asked) for name, changes in made.items()))
    for each in failures[:-1]:
        print(f"error: {each}", file=sys.stderr)
    if failures:
        raise failures[-1]


def shown(changes: dict[str, Change], name: str, asked: argparse.Namespace) -> str:
    """The table of a set; a line where nothing has changed and it was not asked for by name."""
    total = _total(changes)
    if asked.dataset or any(_values(total)[1:-1]):
        return table(changes, name, asked.a, asked.b)
    return f"data/{name}: the same {total.b:,} images in {asked.a} and {asked.b or 'what is there now'}"


def compared(name: str, asked: argparse.Namespace) -> dict[str, Change]:
    """What has changed in the set `name`, by category. One that is not asked for by name may be new, or gone."""

    def of(revision: str) -> list[Image]:
        known = versions.dataset_names_in(revision, root=data.ROOT) if revision else versions.dataset_names(data.ROOT)
        if not asked.dataset and name not in known:
            return []
        return of_revision(revision, name) if revision else images(data.ROOT / "data" / name)

    return dict(sorted(difference(of(asked.a), of(asked.b)).items()))


def _told(changes: dict[str, Change]) -> dict[str, Any]:
    return {
        "categories": {label: vars(change) for label, change in changes.items()},
        "all": vars(_total(changes)),
    }


if __name__ == "__main__":
    command.run(main)
