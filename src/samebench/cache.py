"""Versions of files by their content, in the folder in which DVC keeps them: `files/md5/ab/cdef…`.

Read and filled here without DVC, which is then only needed where something has to come from afar. An object counts if
its content is what its name says; a damaged one is removed, so that it can be brought again.
"""

import hashlib
import json
import re
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from samebench import files

OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")


def md5(path: Path) -> str:
    """The name that DVC gives to a file's content; no more than a name, sha256 is what is relied on."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True)
class Cache:
    """The objects below `place`; `shared` ones may be written by the group."""

    place: Path
    shared: bool = False

    def path(self, name: str) -> Path:
        """Where the object of this name is, or would be."""
        assert OBJECT.fullmatch(name), name
        return self.place / "files/md5" / name[:2] / name[2:]

    def whole(self, name: str) -> Path | None:
        """The object of this name, if it is there and undamaged."""
        path = self.path(name)
        if not path.is_file():
            return None
        if md5(path) == name.removesuffix(".dir"):
            return path
        path.unlink(missing_ok=True)
        return None

    def tree(self, pointer: str) -> dict[str, str]:
        """The files that a pointer names, and of each the object; empty where its own object is not here."""
        named = re.search(r"md5: ([0-9a-f]{32}\.dir)", pointer)
        path = self.whole(named[1]) if named else None
        entries = json.loads(path.read_bytes()) if path else []
        return {entry["relpath"]: entry["md5"] for entry in entries if OBJECT.fullmatch(entry["md5"])}

    def keep(self, path: Path) -> None:
        """Have the content of a file here."""
        name = md5(path)
        if self.whole(name) is None:
            target = self.path(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            if self.shared:
                for folder in (target.parent, target.parent.parent, target.parent.parent.parent, self.place):
                    with suppress(PermissionError):  # a teammate's is so already
                        folder.chmod(0o2775)
            copy(path, target, mode=0o444)


def copy(source: Path, path: Path, *, mode: int | None = None) -> None:
    """Put a copy of `source` at `path` in one step, as `files.write` does, whatever its size."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        shutil.copyfile(source, temporary)
        if mode is not None:
            temporary.chmod(mode)
        files.sync(temporary)
        temporary.replace(path)
        files.sync_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            files.name_error(error, path, size=source.stat().st_size)
        raise
