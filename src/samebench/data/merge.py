"""Merges two versions of a data set where two branches of git meet: a three-way merge by file name.

python -m samebench.data.merge NAME

Both branches' commits say what the versions are, whatever is in the index or in data/ meanwhile. A project's task may
merge files that both branches have changed; otherwise they are refused.
"""

import argparse
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from samebench import project
from samebench.core import command, file_lock, files, untrusted
from samebench.core.command import UsageError
from samebench.core.git import run_git
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.data import checkout, dataset_files, dvc, versions
from samebench.data.cache import Cache
from samebench.data.versions import Version

# The references by which git names the commit that it is about to bring in, and what finishes that.
IN_PROGRESS = {
    "MERGE_HEAD": "git commit",
    "CHERRY_PICK_HEAD": "git cherry-pick --continue",
    "REVERT_HEAD": "git revert --continue",
    "REBASE_HEAD": "git rebase --continue",
}
MAX_NAMES = 5  # names in a message

Key = TypeVar("Key", bound=str)
Value = TypeVar("Value")


@dataclass(frozen=True)
class MergeInputs:
    """Two commits that meet, the commits that both come from, and the command that finishes it."""

    ours: str
    theirs: str
    bases: tuple[str, ...]
    finish: str


@dataclass(frozen=True)
class Folders:
    """The files of both versions, and of the one that both come from, which may be empty; and a folder for others."""

    ours: Path
    theirs: Path
    base: Path
    scratch: Path


@dataclass(frozen=True)
class MergeResult:
    """How many files the merged version has, and the command that finishes the merge in git."""

    files: int
    finish: str


# The content of files that both sides have changed, or a file in `scratch` with it; or raises UsageError.
Resolve = Callable[[Folders, Collection[str]], Mapping[str, bytes | Path]]


def three_way(
    base: Mapping[Key, Value], ours: Mapping[Key, Value], theirs: Mapping[Key, Value]
) -> tuple[dict[Key, Value], list[Key]]:
    """What both sides have made of `base`, in the order of the keys, and the keys that they disagree on."""
    merged, disagreed = {}, []
    for key in sorted({*base, *ours, *theirs}):
        before, one, other = base.get(key), ours.get(key), theirs.get(key)
        if before not in (one, other) and one != other:
            disagreed.append(key)
            continue
        value = one if other in (before, one) else other
        if value is not None:
            merged[key] = value
    return merged, disagreed


def merge(
    name: str, *, root: Path = ROOT, public: project.UpstreamFetcher | None = None, resolve: Resolve | None = None
) -> MergeResult:
    """Make the union of the versions of both branches the version of the set `name`, and have it in data/.

    A file that one side has added or changed is in it, one that a side has removed is not. `resolve` makes the content
    of files that both have changed. Raises UsageError where no merge is in progress, or where both sides have changed a
    file to different bytes; RequirementError where the bytes of a version are nowhere.
    """
    folder = versions.folder_of(name, root=root)
    met = find_merge(root)
    ours, theirs = (versions.load_version(name, revision=each, root=root) for each in (met.ours, met.theirs))
    base = _base(name, met.bases, root)
    untrusted.refuse_links(folder)
    with _workspace(root) as place:
        folders = Folders(place / "ours" / name, place / "theirs" / name, place / "base" / name, scratch=place)
        for version, at in ((ours, folders.ours), (theirs, folders.theirs)):
            checkout.check_out(version, at, root=root, public=public)
        listed, disagreed = three_way(base.listing, ours.listing, theirs.listing)
        contents: Mapping[str, bytes | Path] = {}
        if disagreed and resolve:
            if base.listing:
                checkout.check_out(base, folders.base, root=root, public=public)
            contents = resolve(folders, disagreed)
        if refused := [each for each in disagreed if each not in contents]:
            raise _conflict_error(name, refused)
        paths = {each: _path(folders, ours, each, sha256) for each, sha256 in listed.items()}
        for number, (each, content) in enumerate(contents.items()):
            paths[each] = content if isinstance(content, Path) else place / f"merged-{number}"
            if isinstance(content, bytes):
                files.write(paths[each], content)
        settings = dvc.settings(root)
        with dvc.locked_workspace(root, settings):
            versions.record(name, paths, Cache(settings.cache, settings.shared), root=root)
    version = versions.load_version(name, root=root)
    checkout.check_out(version, folder, root=root, public=public)
    return MergeResult(len(version.listing), met.finish)


def _path(folders: Folders, ours: Version, name: str, sha256: str) -> Path:
    return (folders.ours if ours.listing.get(name) == sha256 else folders.theirs) / name


def _conflict_error(name: str, names: Collection[str]) -> UsageError:
    listed = ", ".join(printable(repr(each)) for each in sorted(names)[:MAX_NAMES])
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    remedy = f"take one side: git checkout --ours -- 'data/{name}.*' (or --theirs), and make data DATASET={name}"
    return UsageError(f"data/{name}: both branches have changed {listed}{more} to different bytes; {remedy}")


def find_merge(root: Path) -> MergeInputs:
    """The commits that git is about to merge.

    Raises UsageError where it is not; RequirementError where git can't answer.
    """
    for reference, finish in IN_PROGRESS.items():
        theirs = _commit(reference, root)
        if not theirs or (reference == "REBASE_HEAD" and not _is_rebasing(root)):
            continue
        ours = _commit("HEAD", root)
        if reference == "MERGE_HEAD":
            bases = run_git("merge-base", "--all", ours, theirs, root=root, codes=(0, 1)).decode().split()
            return MergeInputs(ours, theirs, tuple(bases), finish)
        parent = _commit(f"{theirs}^", root)
        if reference == "REVERT_HEAD":
            return MergeInputs(ours, parent, (theirs,), finish)
        return MergeInputs(ours, theirs, (parent,) if parent else (), finish)
    raise UsageError(
        "git: no merge is in progress here, no rebase, no cherry-pick; first git merge, then make data-merge"
    )


def _is_rebasing(root: Path) -> bool:
    """Whether git is in the middle of a rebase; REBASE_HEAD stays behind when it is done."""
    paths = run_git("rev-parse", "--git-path", "rebase-merge", "--git-path", "rebase-apply", root=root)
    return any((root / os.fsdecode(line)).is_dir() for line in paths.splitlines())


def _commit(reference: str, root: Path) -> str:
    words = ["rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}"]
    return run_git(*words, root=root, codes=(0, 1)).decode().strip()


def _base(name: str, bases: Collection[str], root: Path) -> Version:
    """The version that both come from; without what not all of several such commits agree on, so that it stays in."""
    base_versions = [versions.load_version(name, revision=each, root=root) for each in bases if _has(name, each, root)]
    if not base_versions or len(base_versions) < len(bases):
        return Version(name, {})
    first, *others = base_versions
    common = {
        each: sha256
        for each, sha256 in first.listing.items()
        if all(other.listing.get(each) == sha256 for other in others)
    }
    return Version(name, common, first.pointer)


def _has(name: str, revision: str, root: Path) -> bool:
    return name in versions.dataset_names_in(revision, root=root)


@contextmanager
def _workspace(root: Path) -> Iterator[Path]:
    """A folder on the checkout's disk for one merge at a time, without what a killed one has left."""
    place = untrusted.path_inside(root, ".dvc/tmp/merge", where=".dvc/tmp/merge")
    place.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(place):
        _empty(place)
        try:
            yield place
        finally:
            _empty(place)


def _empty(place: Path) -> None:
    for path in place.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def main(argv: Sequence[str]) -> None:
    """Merge the set that is named, and say what to commit."""
    parser = argparse.ArgumentParser(prog="merge", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", metavar="NAME", help="a set of data/")
    args = parser.parse_args(argv)
    if not args.name:
        raise UsageError("DATASET=: give the name of the set to merge, such as DATASET=shoes")
    task = project.task()
    resolve = task.file_merger()
    dataset_files.finish(args.name)
    merged = merge(args.name, public=project.upstream_fetchers().get(args.name), resolve=resolve)
    reader = task.example_reader(versions.load_version(args.name).listing)
    size = f"{len(reader(versions.folder_of(args.name))):,} examples" if reader else f"{merged.files:,} files"
    print(f"data/{args.name}: the union of both branches, {size}; keep it and give it to the others:")
    print(f"{versions.commit_command(args.name, merged.finish)} && make data-push DATASET={args.name}")


if __name__ == "__main__":
    command.run(main)
