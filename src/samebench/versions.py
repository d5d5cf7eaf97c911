"""Versions of sets of files: git keeps what they are, DVC carries their bytes.

python -m samebench.versions add [NAME…]     records what is in data/NAME as its version
python -m samebench.versions push [NAME…]    carries it to the team's remote, and what this branch had before

Without a name, every set of data/ that is there. The listing data/NAME.sha256 says what a version is, the pointer
data/NAME.dvc where DVC finds it.
"""

import argparse
import hashlib
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samebench import command, dvc, files
from samebench.cache import Cache
from samebench.command import Refusal

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[^/.][^/]*")  # of a folder in data/, and of nothing elsewhere
LINE = re.compile(r"([0-9a-f]{64})\s+\*?(\S.*)")  # of a listing


@dataclass(frozen=True)
class Version:
    """What git keeps of a version: the files and the SHA-256 of each, and DVC's pointer, "" where there is none."""

    name: str
    listing: Mapping[str, str]
    pointer: str = ""


def recorded(name: str, *, revision: str = "", root: Path = ROOT) -> Version:
    """The version of the set `name` that the checkout names, or that a revision of git does.

    Raises Refusal where there is no such set or no such revision.
    """
    _check(name)
    listing, pointer = (_text(f"data/{name}.{kind}", revision, root) for kind in ("sha256", "dvc"))
    if listing is None:
        where = f" in {revision}" if revision else f"; known are {', '.join(known(root)) or 'none'}"
        raise Refusal(f"data/{name}.sha256: not there{where}")
    where = f"data/{name}.sha256" + (f" in {revision}" if revision else "")
    return Version(name, listed(listing, where=where), pointer or "")


def known(root: Path = ROOT) -> list[str]:
    """The sets of data/ that the checkout has a version of, their bytes here or not."""
    return sorted(path.stem for path in (root / "data").glob("*.sha256"))


def there(root: Path = ROOT) -> list[str]:
    """Those of which something is here."""
    return [name for name in known(root) if any((root / "data" / name).glob("*"))]


def known_in(revision: str, *, root: Path = ROOT) -> list[str]:
    """The sets of data/ that a revision of git has a version of. Raises Refusal where there is no such revision."""
    _text("data", revision, root)
    paths = (git("ls-tree", "--name-only", revision, "./data/", root=root) or "").split("\n")
    return sorted(Path(path).stem for path in paths if path.endswith(".sha256"))


def commit_of(name: str, sha256: str, *, root: Path = ROOT) -> str:
    """The newest commit in which the listing of the set `name` has this SHA-256; empty where there is none."""
    path = f"./data/{name}.sha256"
    for commit in (git("log", "--all", "--format=%H", "--", path, root=root) or "").split():
        listing = git("show", f"{commit}:{path}", root=root)
        if listing is not None and hashlib.sha256(listing.encode()).hexdigest() == sha256:
            return commit
    return ""


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise Refusal(f"DATASET={name}: a path; give the name of a folder of data/ alone")


def _text(path: str, revision: str, root: Path) -> str | None:
    if not revision:
        return (root / path).read_text() if (root / path).is_file() else None
    if git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", root=root) is None:
        raise Refusal(f"{revision}: no revision that git knows here; give a commit, a branch or a tag")
    return git("show", f"{revision}:./{path}", root=root)


def git(*words: str, root: Path) -> str | None:
    """What git says, None where it says no or is not there."""
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def listed(text: str, *, where: object) -> dict[str, str]:
    """The file names and the SHA-256 of each, as `sha256sum` lists them.

    Raises Refusal for a line that is none, as git leaves them where two versions met.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not (known := LINE.fullmatch(line)):
            raise Refusal(
                f"{where}, line {number}: {line[:40]!r} is no SHA-256 and name; take the listing of one version"
            )
        found[known[2]] = known[1]
    return found


def again(path: Path, name: str) -> str:
    """The command that brings a file of the set `name` anew, and keeps what is at `path` beside it, hidden."""
    both = (path, path.with_name(f".{path.name}.other"))
    shown = (path.relative_to(ROOT) if path.is_relative_to(ROOT) else path for path in both)
    return f"mv {' '.join(shlex.quote(str(path)) for path in shown)} && make data DATASET={name}"


def wrong(version: Version, folder: Path) -> dict[str, str]:
    """The files that are missing in `folder` or have other bytes, and their SHA-256."""
    return {
        name: sha256
        for name, sha256 in version.listing.items()
        if not (folder / name).is_file() or files.digest(folder / name) != sha256
    }


def objects(version: Version, names: set[str], store: Cache) -> dict[str, Path]:
    """Of each of these files of a version the object in the cache, where it is there.

    Raises Refusal where the listing and the pointer are not of one version.
    """
    tree = store.tree(version.pointer)
    if tree and (lost := names - tree.keys()):
        raise contradiction(version, min(lost))
    found = {name: path for name in names if name in tree and (path := store.whole(tree[name]))}
    for name, path in found.items():
        if files.digest(path) != version.listing[name]:
            raise contradiction(version, name)
    return found


def contradiction(version: Version, name: str) -> Refusal:
    """What to say where listing and pointer tell of different bytes in the file `name`."""
    both = f"data/{version.name}.sha256 and data/{version.name}.dvc"
    remedy = f"where the data is right: make data-add DATASET={version.name}, and commit both"
    return Refusal(f"{both}: not of one version, they tell of different bytes in {name}; {remedy}")


def add(name: str, *, root: Path = ROOT) -> bool:
    """Record what is in data/NAME as the version of the set; tell whether it is another one than before.

    Raises Refusal where there is nothing to record, or a sealed file that is damaged.
    """
    _check(name)
    folder = root / "data" / name
    if (halfway := folder.with_name(f".{name}.new")).is_dir():
        raise Refusal(f"{halfway}: not all in its place, an import was killed; first make data DATASET={name}")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if _versioned(path, folder))
    if not names:
        raise Refusal(f"{folder}: no files there; give DATASET= the name of a folder of data/")
    for each in names:
        _refuse_damaged(folder / each, name)
    known = dvc.settings(root)
    with dvc.work(root, known) as work:
        pointer = dvc.add(folder, names, known, work)
    store = Cache(known.cache, known.shared)
    # Of what is in the cache now, whatever has happened in the folder meanwhile.
    tree = store.tree(pointer)
    listing = "".join(f"{files.digest(store.path(tree[each]))}  {each}\n" for each in sorted(tree))
    changed = False
    for kind, text in (("dvc", pointer), ("sha256", listing)):
        path = root / f"data/{name}.{kind}"
        if not path.is_file() or path.read_text() != text:
            files.write(path, text.encode())
            changed = True
    return changed


def _refuse_damaged(path: Path, name: str) -> None:
    if path.suffix == ".safetensors":
        from samebench import sealed  # noqa: PLC0415 - it takes torch, and few need it

        try:
            sealed.verify(path)
        except Refusal as damage:
            raise Refusal(f"{damage}; {again(path, name)}, or import it again") from damage


def _versioned(path: Path, folder: Path) -> bool:
    """Neither hidden nor what a cut download leaves."""
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.is_file() and not hidden and path.suffix not in {".part", ".unpacked"}


def push(name: str, *, root: Path = ROOT) -> str:
    """Carry the recorded version to the remote, whose address is returned, and those before it that only we may have.

    Raises Refusal where there is no remote or the version is not here; Lacking where the remote does not take it.
    """
    version, known = recorded(name, root=root), dvc.settings(root)
    if not version.pointer:
        raise Refusal(f"data/{name}.dvc: not there; first make data-add DATASET={name}")
    if not known.url:
        raise Refusal("no remote is set; give DATA_REMOTE=, or set one in .dvc/config (docs/data.md)")
    if "://" not in known.url and not Path(known.url).is_dir():  # DVC would make it, wherever a slip leads
        raise Refusal(f"{known.url}: no such directory; make it first, or give ssh://user@host/path")
    with dvc.work(root, known) as work:
        _have_in_cache(version, root / "data" / name, known, work)
        store = Cache(known.cache, known.shared)
        dvc.carry("push", [version.pointer, *_before(version, store, root)], known, work)
    return known.url


def _before(version: Version, store: Cache, root: Path) -> list[str]:
    """The pointers to the versions that this branch had before, as far as their bytes are in the cache."""
    path = f"./data/{version.name}.dvc"
    commits = (git("log", "--format=%H", "--", path, root=root) or "").split()
    pointers = dict.fromkeys(git("show", f"{commit}:{path}", root=root) or "" for commit in commits)
    trees = {pointer: store.tree(pointer) for pointer in pointers if pointer != version.pointer}
    whole = {name for name in {each for tree in trees.values() for each in tree.values()} if store.whole(name)}
    return [pointer for pointer, tree in trees.items() if tree and whole.issuperset(tree.values())]


def _have_in_cache(version: Version, folder: Path, known: dvc.Settings, work: Path) -> None:
    """Data that was published has come without DVC, and so may be in the folder alone."""
    names = set(version.listing)
    store = Cache(known.cache, known.shared)
    if objects(version, names, store).keys() == names:
        return
    if wrong(version, folder):
        raise Refusal(f"data/{version.name}: the recorded version is not here; first make data DATASET={version.name}")
    dvc.add(folder, sorted(names), known, work)
    if objects(version, names, store).keys() != names:
        raise contradiction(version, min(names))


def main(argv: Sequence[str]) -> None:
    """Record or carry away the sets named, or all that are there."""
    parser = argparse.ArgumentParser(prog="versions", description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["add", "push"])
    parser.add_argument("names", nargs="*", metavar="NAME", help="a set of data/")
    asked = parser.parse_args(argv)
    if not (names := asked.names or there()):
        raise Refusal(f"data/: no set is there to {asked.verb}; first make data, or give DATASET=")
    for name in names:
        if asked.verb == "push":
            print(f"data/{name}: on {push(name)}")
        elif add(name):
            print(
                f"data/{name}: a new version, in the cache of this checkout alone; keep it and give it to the others:"
            )
            print(f"git add data/{name}.sha256 data/{name}.dvc && git commit && make data-push DATASET={name}")
        else:
            print(f"data/{name}: as recorded")


if __name__ == "__main__":
    command.run(main)
