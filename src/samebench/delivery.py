"""Brings a version of a set of files to where it is wanted: from the cache, from the team's remote, from its publisher.

Bytes that are saved nowhere else are never overwritten, and every file is whole or not there.
"""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from samebench import cache, dvc, files, versions
from samebench.cache import Cache
from samebench.command import Lacking, Refusal
from samebench.versions import Version

# Brings these files (name, SHA-256), which are not there, into a folder, or raises Refusal or Lacking.
Public = Callable[[Path, Mapping[str, str]], None]


def bring(version: Version, folder: Path, *, root: Path = versions.ROOT, public: Public | None = None) -> bool:
    """Have the files of a version in `folder`, whole; tell whether anything had to be done.

    They come from the cache, else from the remote, else from `public`. A file of another version gives way once its
    bytes are in the cache. Raises Refusal where such bytes belong to no version, and where what came is damaged;
    Lacking where no source has the version.
    """
    if not versions.wrong(version, folder):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    known = dvc.settings(root)
    store = Cache(known.cache, known.shared)
    with dvc.work(root, known) as work:
        files.sweep(folder)
        former = _former(version.name, root)
        for name, sha256 in versions.wrong(version, folder).items():
            _refuse_unsaved(version, folder / name, sha256, former, store)
        try:
            for name, path in _fetched(version, set(versions.wrong(version, folder)), known, store, work).items():
                _set_aside(folder / name, store)
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                cache.copy(path, folder / name)
        except (Refusal, Lacking) as reason:
            if not public:
                raise
            print(f"{reason}\ntaking it from where it was published instead", file=sys.stderr, flush=True)
        if public and (missing := versions.wrong(version, folder)):
            for name in missing:
                _set_aside(folder / name, store, remove=True)
            public(folder, missing)
        _clear(version, folder, former, store)
    if versions.wrong(version, folder):
        raise _nowhere(version, known)
    return True


def _former(name: str, root: Path) -> set[tuple[str, str]]:
    """Name and SHA-256 of every file of every version that git has ever kept."""
    said = versions.git("log", "--all", "--format=", "--patch", "--", f"./data/{name}.sha256", root=root) or ""
    return {(file, sha256) for sha256, file in re.findall(r"^[+]([0-9a-f]{64}) [ *](.*)$", said, re.MULTILINE)}


def _refuse_unsaved(version: Version, path: Path, expected: str, former: set[tuple[str, str]], store: Cache) -> None:
    if not path.exists():
        return
    got = files.digest(path)
    if got not in {sha256 for _, sha256 in former} and store.whole(cache.md5(path)) is None:
        remedy = (
            f"{versions.again(path, version.name)}; or, to make a version of it, make data-add DATASET={version.name}"
        )
        raise Refusal(f"{path}: expected sha256 {expected}, got {got}, which no version has; {remedy}")


def _set_aside(path: Path, store: Cache, *, remove: bool = False) -> None:
    if path.exists():
        store.keep(path)
        if remove:
            path.unlink()


def _clear(version: Version, folder: Path, former: set[tuple[str, str]], store: Cache) -> None:
    """Take out what only other versions have; the user's own files stay."""
    for name, sha256 in former:
        path = folder / name
        if name not in version.listing and path.is_file() and files.digest(path) == sha256:
            _set_aside(path, store, remove=True)


def _fetched(version: Version, names: set[str], known: dvc.Settings, store: Cache, work: Path) -> dict[str, Path]:
    """The objects of these files in the cache, brought there if need be; without those that are nowhere."""
    if not version.pointer:
        return {}
    objects = versions.objects(version, names, store)
    if objects.keys() < names and known.url:
        _fetch(version, known, store, work)
        objects = versions.objects(version, names, store)
    return objects


def _fetch(version: Version, known: dvc.Settings, store: Cache, work: Path) -> None:
    """Bring a version into the cache. Raises Refusal for an object that is damaged on the remote."""
    (top,) = re.findall(r"md5: ([0-9a-f]{32}\.dir)", version.pointer)
    for name in store.tree(version.pointer).values():
        store.whole(name)  # what is damaged here goes, so that all damage that is found then has come
    failure = None
    try:
        dvc.carry("fetch", [version.pointer], known, work)
    except Lacking as reason:
        failure = reason
    damaged = [top] if _damaged(top, store) else []
    damaged += [name for name in store.tree(version.pointer).values() if _damaged(name, store)]
    if damaged:
        # Where DVC finds the list of the files on the remote, it takes all of them to be there.
        both = " and ".join(str(store.path(name).relative_to(store.place)) for name in {damaged[0]: 0, top: 0})
        remedy = f"delete {both} there, then where the version is whole: make data-push DATASET={version.name}"
        raise Refusal(f"{known.url}: what it has of data/{version.name} is damaged; {remedy}")
    if failure:
        raise failure


def _damaged(name: str, store: Cache) -> bool:
    return store.path(name).exists() and store.whole(name) is None


def _nowhere(version: Version, known: dvc.Settings) -> Lacking:
    what = f"data/{version.name}: this version is not in the cache ({known.cache})"
    if known.url:
        return Lacking(f"{what} nor on {known.url}; whoever has it: make data-push DATASET={version.name}")
    return Lacking(f"{what}, and no remote is set; give DATA_REMOTE=, or set one in .dvc/config (docs/data.md)")
