"""Brings a version of a set of files to where it is wanted: from the cache, from the team's remote, from its publisher.

Bytes that are saved nowhere else are never overwritten, and every file is whole or not there.
"""

import sys
from pathlib import Path

from samebench.core import files, untrusted
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.data import cache, digests, dvc, listing, upstream_urls, versions
from samebench.data.cache import Cache
from samebench.data.dvc_config import DvcConfig
from samebench.data.pointer import Pointer
from samebench.data.versions import Version
from samebench.project import UpstreamFetcher


def check_out(version: Version, folder: Path, *, root: Path = ROOT, public: UpstreamFetcher | None = None) -> bool:
    """Have the files of a version in `folder`, whole; tell whether anything had to be done.

    They come from the cache, else from the remote, else from `public`; without it from where `data/NAME.urls` says.
    A file of another version gives way once its bytes are in the cache. Raises UsageError where such bytes belong to no
    version, where what came is damaged, and where the folder or anything in it is a symbolic link; RequirementError
    where no source has the version.
    """
    if folder.is_relative_to(root):
        untrusted.path_inside(root, folder.relative_to(root).as_posix(), where=version.name)
    if not versions.mismatched_files(version, folder):
        return False
    public = public or upstream_urls.fetcher(version.name, root=root)
    untrusted.refuse_links(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = dvc.settings(root)
    store = Cache(config.cache, config.shared)
    with dvc.locked_workspace(root, config) as work:
        files.sweep(folder)
        former = _files_in_history(version.name, root) if any(folder.iterdir()) else set()
        for name, sha256 in versions.mismatched_files(version, folder).items():
            _refuse_unsaved(version, folder, name, sha256, former, store)
        try:
            for name, path in _fetch_objects(
                version, set(versions.mismatched_files(version, folder)), config, store, work
            ).items():
                _put_aside(folder, name, store)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                cache.copy(path, folder / name)
        except (UsageError, RequirementError) as reason:
            if not public:
                raise
            print(f"{printable(reason)}\ntaking it from where it was published instead", file=sys.stderr, flush=True)
        if public and (missing := versions.mismatched_files(version, folder)):
            for name in missing:
                _put_aside(folder, name, store)
                (folder / name).unlink(missing_ok=True)
            public(folder, missing)
        _clear(version, folder, former, store)
    if versions.mismatched_files(version, folder):
        raise _unavailable_error(version, config)
    return True


def _files_in_history(name: str, root: Path) -> set[tuple[str, str]]:
    """Name and SHA-256 of every file of every version that git has ever kept."""
    commits = versions.history(versions.path_of(name, "sha256"), "--all", root=root)
    return {entry for content in {content for _, content in commits} for entry in listing.entries_in_history(content)}


def _obstacles(folder: Path, name: str) -> list[Path]:
    """The files where a file of this name belongs: at its path, in a folder there, or in place of a folder above."""
    path = folder / name
    for parent in reversed(path.parents):
        if parent.is_relative_to(folder) and parent.exists() and not parent.is_dir():
            return [parent]
    if path.is_dir():
        return sorted(each for each in path.rglob("*") if not each.is_dir())
    return [path] if path.exists() else []


def _refuse_unsaved(
    version: Version, folder: Path, name: str, expected: str, former: set[tuple[str, str]], store: Cache
) -> None:
    for path in _obstacles(folder, name):
        path_text = printable(path)
        remedy = printable(versions.restore_hint(path, version.name))
        if not path.is_file():
            raise UsageError(f"{path_text}: no ordinary file, where {name} belongs; {remedy}")
        actual = digests.sha256(path)
        if actual not in {sha256 for _, sha256 in former} and store.get_verified(digests.md5(path)) is None:
            remedy += f"; or, to make a version of it, make data-add DATASET={version.name}"
            raise UsageError(f"{path_text}: expected sha256 {expected}, got {actual}, which no version has; {remedy}")


def _put_aside(folder: Path, name: str, store: Cache) -> None:
    """Have in the cache what lies where a file of this name belongs, and make room for the file."""
    path = folder / name
    for each in _obstacles(folder, name):
        store.put(each)
        if each != path:
            each.unlink()
    if path.is_dir():
        for place in [*sorted(path.rglob("*"), reverse=True), path]:
            place.rmdir()


def _clear(version: Version, folder: Path, former: set[tuple[str, str]], store: Cache) -> None:
    """Take out what only other versions have; the user's own files stay."""
    stays = {name.casefold() for name in version.listing}  # one file, where the file system knows no case
    for name, sha256 in former:
        path = untrusted.path_inside(folder, name, where=f"data/{version.name}.sha256")
        if name.casefold() not in stays and path.is_file() and digests.sha256(path) == sha256:
            store.put(path)
            path.unlink()


def _fetch_objects(version: Version, names: set[str], config: DvcConfig, store: Cache, work: Path) -> dict[str, Path]:
    """The objects of these files in the cache, brought there if need be; without those that are nowhere."""
    if not version.pointer:
        return {}
    objects = versions.objects(version, names, store)
    if objects.keys() < names and config.url:
        _fetch(version, version.pointer, config, store, work)
        objects = versions.objects(version, names, store)
    return objects


def _fetch(version: Version, pointer: Pointer, config: DvcConfig, store: Cache, work: Path) -> None:
    """Bring a version into the cache. Raises UsageError for an object that is damaged on the remote."""
    top = pointer.tree
    for name in store.tree(pointer).values():
        store.get_verified(name)  # what is damaged here goes, so that all damage that is found then has come
    failure = None
    try:
        dvc.transfer("fetch", [pointer], config, work)
    except RequirementError as reason:
        failure = reason
    damaged = [top] if _damaged(top, store) else []
    damaged += [name for name in store.tree(pointer).values() if _damaged(name, store)]
    if damaged:
        # Where DVC finds the list of the files on the remote, it takes all of them to be there.
        both = " and ".join(str(store.path(name).relative_to(store.place)) for name in {damaged[0]: 0, top: 0})
        remedy = f"delete {both} there, then where the version is whole: make data-push DATASET={version.name}"
        raise UsageError(f"{config.url}: what it has of data/{version.name} is damaged; {remedy}")
    if failure:
        raise failure


def _damaged(name: str, store: Cache) -> bool:
    return store.path(name).exists() and store.get_verified(name) is None


def _unavailable_error(version: Version, config: DvcConfig) -> RequirementError:
    what = f"data/{version.name}: this version is not in the cache ({config.cache})"
    if config.url:
        return RequirementError(f"{what} nor on {config.url}; whoever has it: make data-push DATASET={version.name}")
    return RequirementError(
        f"{what}, and no remote is set; give DATA_REMOTE=, or set one in .dvc/config (docs/data.md)"
    )
