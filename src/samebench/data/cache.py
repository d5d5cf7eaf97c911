"""Versions of files by their content, in the folder in which DVC keeps them: `files/md5/ab/cdef…`.

Read and filled here without DVC, which is then only needed where something has to come from afar. An object counts if
its content is what its name says; a damaged one is removed, so that it can be brought again.
"""

import fcntl
import hashlib
import json
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from samebench.core import files, untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import digests
from samebench.data.listing import check_file_names
from samebench.data.pointer import Pointer

FICLONE = 0x40049409  # Linux's request to share the blocks of a file, ioctl_ficlone(2)
OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
FILE = re.compile(r"[0-9a-f]{32}")
MAX_BYTES = 512 << 20  # of a list of files: some four million


@dataclass(frozen=True)
class Cache:
    """The objects below `place`; `shared` ones may be written by the group."""

    place: Path
    shared: bool = False

    def path(self, name: str) -> Path:
        """Where the object of this name is, or would be."""
        assert OBJECT.fullmatch(name), name
        return untrusted.path_inside(self.place, f"files/md5/{name[:2]}/{name[2:]}", where=self.place)

    def refuse_links(self) -> None:
        """Raise UsageError where a folder of the objects is a symbolic link, through which DVC would write."""
        objects = untrusted.path_inside(self.place, "files/md5", where=self.place)
        for entry in objects.iterdir() if objects.is_dir() else ():
            untrusted.path_inside(objects, entry.name, where=objects)

    def get_verified(self, name: str) -> Path | None:
        """The object of this name, if it is there and undamaged."""
        path = self.path(name)
        if not path.is_file():
            return None
        if digests.md5(path) == name.removesuffix(".dir"):
            return path
        path.unlink(missing_ok=True)
        return None

    def tree(self, pointer: Pointer | None) -> dict[str, str]:
        """The files that a pointer names, and of each the object; empty where its own object is not here.

        Raises UsageError where that object is no list of files, or one of its names leads out of the folder of a set.
        """
        path = self.get_verified(pointer.tree) if pointer else None
        return parse_tree(path) if path else {}

    def put(self, path: Path) -> str:
        """Have the content of a file here; the name of its object.

        Raises UsageError where the file changes meanwhile.
        """
        name = digests.md5(path)
        if self.get_verified(name) is None:
            copy(path, self._prepare(name), mode=0o444)
            if self.get_verified(name) is None:
                raise UsageError(f"{path}: has changed while it was read; wait until it is written, then once more")
        return name

    def put_tree(self, objects: Mapping[str, str]) -> str:
        """Have the list of these files here, by name the object of each, as DVC writes it; the name of its object."""
        content = json.dumps(
            [{"md5": objects[name], "relpath": name} for name in sorted(objects)], sort_keys=True
        ).encode()
        name = f"{hashlib.md5(content, usedforsecurity=False).hexdigest()}.dir"
        if self.get_verified(name) is None:
            files.write(self._prepare(name), content)
            self.path(name).chmod(0o444)
        return name

    def _prepare(self, name: str) -> Path:
        """Where the object of this name is, its folders made."""
        target = self.path(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.shared:
            for folder in (target.parent, target.parent.parent, target.parent.parent.parent, self.place):
                with suppress(PermissionError):  # a teammate's is so already
                    folder.chmod(0o2775)
        return target


def parse_tree(path: Path) -> dict[str, str]:
    """The object of each file by its name, of a list of files as DVC writes it. Raises UsageError where it is none."""
    try:
        entries = json.loads(untrusted.read_bytes(path, max_bytes=MAX_BYTES))
        objects = {entry["relpath"]: entry["md5"] for entry in entries}
        if len(objects) != len(entries) or not all(FILE.fullmatch(name) for name in objects.values()):
            raise ValueError("a name twice, or no MD5")  # noqa: TRY301 - one remedy for all that it can be
        check_file_names(objects, where=path)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{path}: not a list of files ({printable(error, longest=80)}); take another version"
        ) from error
    return objects


def copy(source: Path, path: Path, *, mode: int | None = None) -> None:
    """Put a copy of `source` at `path` in one step, as `files.write` does, whatever its size.

    Both share their blocks on the disk where the file system can do that, until one of them is written to.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if not _clone(source, temporary):
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


def _clone(source: Path, path: Path) -> bool:
    """Whether the file system has made `path` a file that shares the blocks of `source`."""
    if sys.platform != "linux":
        return False
    with source.open("rb") as old, path.open("wb") as new, suppress(OSError):
        fcntl.ioctl(new, FICLONE, old.fileno())
        return True
    return False
