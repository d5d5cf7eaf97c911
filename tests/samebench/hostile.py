"""A checkout with a stranger's data in it, and canaries around it that must not be read, written or deleted."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samebench.data import checkout, versions

from .team_checkouts import NAME, Member, init_checkout

CANARY = b"nobody reads, writes or deletes this\n"
opened: list[str] | None = None  # the paths that this process opens, removes or renames, while somebody watches


PATHS = {"open": 1, "os.remove": 1, "os.rename": 2, "os.rmdir": 1, "os.chmod": 1, "os.listdir": 1, "os.scandir": 1}


def _listen(event: str, args: tuple[Any, ...]) -> None:
    if opened is not None and event in PATHS:
        opened.extend(os.fsdecode(each) for each in args[: PATHS[event]] if isinstance(each, str | bytes | os.PathLike))


sys.addaudithook(_listen)  # it can't be taken away again, and does nothing while nobody watches


@contextmanager
def watched() -> Iterator[list[str]]:
    """Every path that Python opens, removes or renames meanwhile."""
    global opened  # noqa: PLW0603 - the one hook of the process
    paths: list[str] = []
    opened = paths
    try:
        yield paths
    finally:
        opened = None


@dataclass
class World:
    """A checkout in `outside/checkout`; all that is not data/shoes, a cache or git's is a canary."""

    outside: Path
    member: Member = field(init=False)

    def __post_init__(self) -> None:
        self.member = init_checkout(self.outside / "checkout")
        for name in (
            "victim.txt",
            "sub/victim.txt",
            "checkout/README.md",
            "checkout/src/code.py",
            "checkout/data/other/a",
        ):
            path = self.outside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(CANARY)

    @property
    def root(self) -> Path:
        return self.member.root

    @property
    def cache(self) -> Path:
        return self.root / ".dvc/cache"

    def snapshot(self) -> dict[str, tuple[int, int, bytes]]:
        """All canaries: kind and rights, time of the last change, and content."""
        known = {}
        for place, folders, names in os.walk(self.outside):
            here = Path(place)
            if here == self.root / "data":
                folders[:] = [each for each in folders if each != NAME]
                names[:] = [each for each in names if not each.startswith(f"{NAME}.")]
            if here == self.root / ".dvc":
                folders[:], names[:] = [], []
            if here == self.root:
                folders[:] = [each for each in folders if each != ".git"]
            for name in (*folders, *names):
                path = here / name
                status = path.lstat()
                content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
                known[str(path)] = (status.st_mode, status.st_mtime_ns * path.is_file(), os.fsencode(content))
        return known

    def touches(self, paths: list[str]) -> list[str]:
        """Which of these paths are canaries, or in a folder of them."""
        inside = (self.root / "data", self.root / ".dvc", self.root / ".git")
        real = {os.path.realpath(path) for path in paths if "\0" not in path}
        below = [path for path in real if Path(path).is_relative_to(self.outside)]
        return [
            path
            for path in below
            if not any(Path(path).is_relative_to(each) for each in inside)
            or (self.root / "data/other") in Path(path).parents
        ]

    def put(self, content: bytes, suffix: str = "", *, store: Path | None = None) -> str:
        """Have an object in the cache, or in a remote; its name."""
        name = hashlib.md5(content, usedforsecurity=False).hexdigest()
        path = (store or self.cache) / "files/md5" / name[:2] / (name[2:] + suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return name + suffix

    def publish(self, contents: Mapping[str, bytes], *, store: Path | None = None, listing: str | None = None) -> None:
        """A version of the set as a stranger may commit it, its bytes in the cache or in a remote."""
        entries = [{"md5": self.put(content, store=store), "relpath": name} for name, content in contents.items()]
        tree = self.put(json.dumps(entries).encode(), ".dir", store=store)
        lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items()]
        self.write("".join(lines) if listing is None else listing, pointer(tree))

    def write(self, listing: str | bytes, pointed: str | bytes) -> None:
        for kind, text in (("sha256", listing), ("dvc", pointed)):
            content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
            (self.root / f"data/{NAME}.{kind}").write_bytes(content)

    def commit(self) -> None:
        self.member.git("add", "--all", "--force", f"data/{NAME}.sha256", f"data/{NAME}.dvc")
        self.member.git("commit", "--quiet", "--allow-empty", "--message", "data")

    def bring(self) -> bool:
        """What make data does."""
        folder = versions.folder_of(NAME, root=self.root)
        return checkout.check_out(versions.load_version(NAME, root=self.root), folder, root=self.root)


def pointer(tree: str, path: str = NAME) -> str:
    return f"outs:\n- md5: {tree}\n  size: 1\n  nfiles: 1\n  hash: md5\n  path: {path}\n"
