"""Versions of sets of files: git keeps what they are, DVC carries their bytes.

python -m samebench.data.versions add [NAME…]     records what is in data/NAME as its version
python -m samebench.data.versions push [NAME…]    carries it to the team's remote, and what this branch had before

Without a name, every set of data/ that is there. The listing data/NAME.sha256 says what a version is, the pointer
data/NAME.dvc where DVC finds it.
"""

import argparse
import hashlib
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samebench.core import command, files, untrusted
from samebench.core.command import UsageError
from samebench.core.git import NoRepositoryError, run_git
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.data import digests, dvc, listing
from samebench.data.cache import Cache
from samebench.data.pointer import Pointer


@dataclass(frozen=True)
class Version:
    """What git keeps of a version: the files and the SHA-256 of each, and DVC's pointer, if there is one."""

    name: str
    listing: Mapping[str, str]
    pointer: Pointer | None = None


@dataclass(frozen=True)
class PushResult:
    """What a push has left on the remote at `url`: so many versions in so many objects; `absent` were not here."""

    url: str
    versions: int
    objects: int
    absent: int


def folder_of(name: str, *, root: Path = ROOT) -> Path:
    """The folder data/NAME. Raises UsageError for what is no name of a set, and where the folder is a symbolic link."""
    return untrusted.path_inside(root, f"data/{listing.check_set_name(name)}", where="DATASET")


def load_version(name: str, *, revision: str = "", root: Path = ROOT) -> Version:
    """The version of the set `name` that the checkout names, or that a revision of git does.

    Raises UsageError where there is no such set or no such revision; RequirementError where git can't answer.
    """
    paths = [path_of(name, kind) for kind in ("sha256", "dvc")]
    listed, pointer = (_content(path, revision, root) for path in paths)
    where = f" in {printable(revision)}" if revision else ""
    if listed is None:
        others = f"; known are {printable(', '.join(dataset_names(root)), longest=400) or 'none'}"
        raise UsageError(f"{paths[0]}: not there{where or others}")
    return parse_version(name, listed, pointer, where=where)


def parse_version(name: str, listed: bytes, pointer: bytes | None, *, where: str = "") -> Version:
    """The version that a listing and a pointer tell of. Raises UsageError for what is refused in either."""
    texts = {}
    for kind, content in (("sha256", listed), ("dvc", pointer or b"")):
        place = f"{path_of(name, kind)}{where}"
        texts[kind] = listing.decode(content, where=place)
        if listing.CONFLICT.search(texts[kind]):
            raise conflict(name, place)
    return Version(
        name,
        listing.parse(texts["sha256"], where=f"{path_of(name, 'sha256')}{where}"),
        Pointer.parse(texts["dvc"], name=name, where=f"{path_of(name, 'dvc')}{where}") if pointer else None,
    )


def path_of(name: str, kind: str) -> str:
    """Where the listing ("sha256") or the pointer ("dvc") of a set is.

    Raises UsageError for what is no name of a set.
    """
    return f"data/{listing.check_set_name(name)}.{kind}"


def conflict(name: str, where: str) -> UsageError:
    """What to say where git has not merged two versions."""
    return UsageError(
        f"{where}: two branches have changed it, and git can't merge them; make data-merge DATASET={name}"
    )


def dataset_names(root: Path = ROOT) -> list[str]:
    """The sets of data/ that the checkout has a version of, their bytes here or not."""
    return sorted(path.stem for path in (root / "data").glob("*.sha256"))


def local_datasets(root: Path = ROOT) -> list[str]:
    """Those of which something is here."""
    return [name for name in dataset_names(root) if any((root / "data" / name).glob("*"))]


def dataset_names_in(revision: str, *, root: Path = ROOT) -> list[str]:
    """The sets of data/ that a revision of git has a version of. Raises UsageError where there is no such revision."""
    paths = os.fsdecode(run_git("ls-tree", "--name-only", "-z", _commit(revision, root), "./data/", root=root))
    return sorted(Path(path).stem for path in paths.split("\0") if path.endswith(".sha256"))


def commit_of(name: str, sha256: str, *, root: Path = ROOT) -> str:
    """The newest commit in which the listing of the set `name` has this SHA-256; empty where there is none."""
    for commit, content in history(path_of(name, "sha256"), "--all", root=root):
        if hashlib.sha256(content).hexdigest() == sha256:
            return commit
    return ""


def is_changed(name: str, *, root: Path = ROOT) -> bool:
    """Whether the listing or the pointer of a set is not as in the commit."""
    paths = [path_of(name, kind) for kind in ("sha256", "dvc")]
    return bool(_git("status", "--porcelain", "-z", "--", *(f"./{path}" for path in paths), root=root))


# ---- git ----


def _content(path: str, revision: str, root: Path) -> bytes | None:
    if revision:
        return contents([f"{_commit(revision, root)}:./{path}"], root=root)[0]
    try:
        return untrusted.read_bytes(untrusted.path_inside(root, path, where=path), max_bytes=listing.MAX_BYTES)
    except FileNotFoundError:
        return None


def _commit(revision: str, root: Path) -> str:
    words = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    if "\0" not in revision and (commit := run_git(*words, root=root, codes=(0, 1)).decode().strip()):
        return commit
    raise UsageError(f"{printable(revision)}: no revision that git knows here; give a commit, a branch or a tag")


def _git(*words: str, root: Path, codes: Collection[int] = (0,)) -> bytes:
    """What git prints; nothing where the checkout is in no repository, such as one from an archive.

    Raises RequirementError where there is a repository and git can't answer.
    """
    try:
        return run_git(*words, root=root, codes=codes)
    except NoRepositoryError:
        if any(os.path.lexists(folder / ".git") for folder in (root.resolve(), *root.resolve().parents)):
            raise
        return b""


def contents(specs: Sequence[str], *, root: Path) -> list[bytes | None]:
    """The content of each file that git knows as `REVISION:./PATH`; None where that is no file."""
    output = run_git("cat-file", "--batch", root=root, stdin="".join(f"{spec}\n" for spec in specs).encode())
    contents_found: list[bytes | None] = []
    for _ in specs:
        heading, _, output = output.partition(b"\n")
        words = heading.rsplit(b" ", 2)
        if words[-1] == b"missing":
            contents_found.append(None)
            continue
        size = int(words[2])
        contents_found.append(output[:size] if words[1] == b"blob" else None)
        output = output[size + 1 :]
    return contents_found


def history(path: str, *words: str, root: Path) -> list[tuple[str, bytes]]:
    """The commits that have changed a file, the newest first, and its content in each; with `--all` of every branch."""
    if "--all" not in words and not _git("rev-parse", "--verify", "--quiet", "HEAD", root=root, codes=(0, 1)):
        return []  # before the first commit, of which git log makes an error
    # Of a merge that took one side git would leave out the other side's commits.
    commits = _git("log", *words, "--full-history", "--format=%H", "--", f"./{path}", root=root).decode().split()
    texts = contents([f"{commit}:./{path}" for commit in commits], root=root) if commits else []
    return [(commit, text) for commit, text in zip(commits, texts, strict=True) if text is not None]


def refuse_unmerged(name: str, *, root: Path = ROOT) -> None:
    """Raise UsageError while git waits for somebody to merge two versions of a set."""
    for path in (path_of(name, kind) for kind in ("sha256", "dvc")):
        text = _content(path, "", root) or b""
        unmerged = _git("ls-files", "--unmerged", "-z", "--", f"./{path}", root=root)
        if unmerged or listing.CONFLICT.search(text.decode(errors="replace")):
            raise conflict(name, path)


# ---- files ----


def restore_hint(path: Path, name: str) -> str:
    """The command that brings a file of the set `name` anew, and keeps what is at `path` beside it, hidden."""
    both = (path, path.with_name(f".{path.name}.other"))
    relative = (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path for path in both)
    return f"mv {' '.join(shlex.quote(str(path)) for path in relative)} && make data DATASET={name}"


def mismatched_files(version: Version, folder: Path) -> dict[str, str]:
    """The files that are missing in `folder` or have other bytes, and their SHA-256. Raises UsageError for a link."""
    where = f"data/{version.name}.sha256"
    missing = {}
    for name, sha256 in version.listing.items():
        path = untrusted.path_inside(folder, name, where=where)
        if not path.is_file() or digests.sha256(path) != sha256:
            missing[name] = sha256
    return missing


def objects(version: Version, names: set[str], store: Cache) -> dict[str, Path]:
    """Of each of these files of a version the object in the cache, where it is there.

    Raises UsageError where the listing and the pointer are not of one version.
    """
    tree = store.tree(version.pointer)
    if tree and (unlisted := names - tree.keys()):
        raise contradiction_error(version, min(unlisted))
    paths = {name: path for name in names if name in tree and (path := store.get_verified(tree[name]))}
    for name, path in paths.items():
        if digests.sha256(path) != version.listing[name]:
            raise contradiction_error(version, name)
    return paths


def contradiction_error(version: Version, name: str) -> UsageError:
    """What to say where listing and pointer tell of different bytes in the file `name`."""
    both = f"data/{version.name}.sha256 and data/{version.name}.dvc"
    remedy = f"where the data is right: make data-add DATASET={version.name}, and commit both"
    return UsageError(f"{both}: not of one version, they tell of different bytes in {name}; {remedy}")


def add(name: str, *, root: Path = ROOT) -> bool:
    """Record what is in data/NAME as the version of the set; tell whether it is another one than before.

    Raises UsageError where there is nothing to record, a link, a file name that no listing can have, a sealed file that
    is damaged, or two versions that git has not merged.
    """
    folder = folder_of(name, root=root)
    if (halfway := folder.with_name(f".{name}.new")).is_dir():
        raise UsageError(f"{halfway}: not all in its place, an import was killed; first make data DATASET={name}")
    refuse_unmerged(name, root=root)
    names = local_files(folder)
    if not names:
        raise UsageError(f"{folder}: no files there; give DATASET= the name of a folder of data/")
    listing.check_file_names(names, where=f"data/{name}")
    for each in names:
        _refuse_damaged(folder / each, name)
    settings = dvc.settings(root)
    with dvc.locked_workspace(root, settings):
        return record(name, {each: folder / each for each in names}, Cache(settings.cache, settings.shared), root=root)


def local_files(folder: Path) -> list[str]:
    """The names of the files in the folder of a set that belong to a version. Raises UsageError for a link."""
    untrusted.refuse_links(folder)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if _versioned(path, folder))


def record(name: str, paths: Mapping[str, Path], store: Cache, *, root: Path) -> bool:
    """Have these files in the cache, and write the listing and the pointer to them; tell whether either is new."""
    pointer = put_in_cache(paths, store)
    # Of what is in the cache now, whatever has happened in the folder meanwhile.
    tree = store.tree(pointer)
    text = "".join(f"{digests.sha256(store.path(tree[each]))}  {each}\n" for each in sorted(tree))
    changed = False
    for kind, content in (("dvc", pointer.text(name).encode()), ("sha256", text.encode())):
        before = _content(path_of(name, kind), "", root)
        if before != content and not (kind == "dvc" and _is_pointer(before, pointer, name)):
            files.write(root / path_of(name, kind), content)
            changed = True
    return changed


def put_in_cache(paths: Mapping[str, Path], store: Cache) -> Pointer:
    """Have these files in the cache, and a list of them by their names; the pointer to it, as DVC would write it."""
    tree = {name: store.put(path) for name, path in paths.items()}
    size = sum(store.path(each).stat().st_size for each in tree.values())
    return Pointer(store.put_tree(tree), size, len(tree))


def _is_pointer(content: bytes | None, pointer: Pointer, name: str) -> bool:
    """Whether this is the same pointer in other words, such as with other quotes."""
    try:
        return Pointer.parse((content or b"").decode(), name=name, where="") == pointer
    except ValueError:
        return False


def _refuse_damaged(path: Path, name: str) -> None:
    if path.suffix == ".safetensors":
        from samebench.data import checked_safetensors  # noqa: PLC0415 - it takes torch, and few need it

        try:
            checked_safetensors.verify(path)
        except UsageError as damage:
            raise UsageError(f"{damage}; {restore_hint(path, name)}, or import it again") from damage


def _versioned(path: Path, folder: Path) -> bool:
    """Neither hidden nor what a cut download leaves."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.suffix not in {".part", ".unpacked"}


def push(name: str, *, root: Path = ROOT) -> PushResult:
    """Carry the recorded version to the remote, and those before it that only we may have.

    Raises UsageError where there is no remote or the version is not here; RequirementError where the remote does not
    take it, or git can't say which versions there were.
    """
    version, settings = load_version(name, root=root), dvc.settings(root)
    if not version.pointer:
        raise UsageError(f"data/{name}.dvc: not there; first make data-add DATASET={name}")
    if not settings.url:
        raise UsageError("no remote is set; give DATA_REMOTE=, or set one in .dvc/config (docs/data.md)")
    if "://" not in settings.url and not Path(settings.url).is_dir():  # DVC would make it, wherever a slip leads
        raise UsageError(f"{settings.url}: no such directory; make it first, or give ssh://user@host/path")
    with dvc.locked_workspace(root, settings) as work:
        store = Cache(settings.cache, settings.shared)
        _have_in_cache(version, folder_of(name, root=root), store)
        earlier, absent = _before(version, store, root)
        pointers = [version.pointer, *earlier]
        dvc.transfer("push", pointers, settings, work)
    names = {each for pointer in pointers for each in (pointer.tree, *store.tree(pointer).values())}
    return PushResult(settings.url, len(pointers), len(names), absent)


def _before(version: Version, store: Cache, root: Path) -> tuple[list[Pointer], int]:
    """The pointers to the versions that this branch had before, if their bytes are in the cache; how many are not."""
    pointers, unread = {}, 0
    for content in dict.fromkeys(content for _, content in history(path_of(version.name, "dvc"), root=root)):
        try:
            pointer = Pointer.parse(content.decode(), name=version.name, where="")
            pointers[pointer.tree] = (pointer, store.tree(pointer))
        except ValueError:  # of a merge that was committed with its conflict, for one
            unread += 1
    if version.pointer:
        pointers.pop(version.pointer.tree, None)
    whole = {
        name for name in {each for _, tree in pointers.values() for each in tree.values()} if store.get_verified(name)
    }
    here = [pointer for pointer, tree in pointers.values() if tree and whole.issuperset(tree.values())]
    return here, unread + len(pointers) - len(here)


def _have_in_cache(version: Version, folder: Path, store: Cache) -> None:
    """Data that was published has come without DVC, and so may be in the folder alone."""
    names = set(version.listing)
    if objects(version, names, store).keys() == names:
        return
    if mismatched_files(version, folder):
        raise UsageError(
            f"data/{version.name}: the recorded version is not here; first make data DATASET={version.name}"
        )
    put_in_cache({each: folder / each for each in names}, store)
    if objects(version, names, store).keys() != names:
        raise contradiction_error(version, min(names))


def main(argv: Sequence[str]) -> None:
    """Record or carry away the sets named, or all that are there."""
    parser = argparse.ArgumentParser(prog="versions", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["add", "push"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a set of data/")
    args = parser.parse_args(argv)
    if not (names := args.names or local_datasets()):
        raise UsageError(f"data/: no set is there to {args.verb}; first make data, or give DATASET=")
    command.for_each(names, _push if args.verb == "push" else _add)


def _push(name: str) -> None:
    pushed = push(name)
    counts = f"{_count(pushed.versions, 'version')}, {_count(pushed.objects, 'object')}"
    absent = f"; not {_count(pushed.absent, 'earlier version')}: not in this cache" if pushed.absent else ""
    print(f"data/{name}: on {pushed.url}, {counts}{absent}")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _add(name: str) -> None:
    if not add(name):
        print(f"data/{name}: as recorded")
        return
    print(f"data/{name}: a new version, in the cache of this checkout alone; keep it and give it to the others:")
    print(f"{commit_command(name, 'git commit')} && make data-push DATASET={name}")


def commit_command(name: str, commit: str) -> str:
    """The command that commits a version."""
    return f"git add {path_of(name, 'sha256')} {path_of(name, 'dvc')} && {commit}"


if __name__ == "__main__":
    command.run(main)
