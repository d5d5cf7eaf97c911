"""Writing files so that a kill or a full disk leaves the old one or the new one, never half of one."""

import errno
import hashlib
import mmap
import os
import re
import secrets
import sys
import time
from contextlib import suppress
from pathlib import Path

from samebench.core.text import printable

FULL = {errno.ENOSPC, errno.EDQUOT}
# What a file system says that does not support fsync; some say EBADF for a folder, which can't be opened for writing.
NO_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS}
MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0  # on x86-64 and arm64; this Python has no name for it
_warned: set[str] = set()
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: temporary file beside it, fsync, rename, fsync of the directory.

    Raises OSError naming `path` and the bytes needed; the file that was there before is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            remaining = memoryview(content)
            while remaining:
                remaining = remaining[os.write(handle, remaining) :]
            _sync(handle, path.parent, "files", refused=NO_FSYNC)
        finally:
            os.close(handle)
        temporary.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            name_error(error, path, size=len(content))
        raise


def name_error(error: OSError, path: Path, *, size: int) -> None:
    """Make `error` name `path`, and on a full disk the `size` in bytes that is needed."""
    error.filename, error.filename2 = str(path), None
    if error.errno in FULL:
        error.strerror = f"{error.strerror}, {size:,} bytes needed"


def sync(path: Path) -> None:
    """Make the content of a file survive a power cut. Raises OSError naming it."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync(handle, path.parent, "files", refused=NO_FSYNC)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(handle)


def sync_directory(directory: Path) -> None:
    """Make the renames in `directory` survive a power cut. Raises OSError naming it."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync(handle, directory, "folders", refused=NO_FSYNC | {errno.EBADF})
    except OSError as error:
        error.filename = str(directory)
        raise
    finally:
        os.close(handle)


def _sync(handle: int, directory: Path, kind: str, *, refused: set[int]) -> None:
    """`os.fsync`; where the file system has none for this kind of thing, a warning once in place of an error."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in refused:
            raise
        if kind not in _warned:
            _warned.add(kind)
            where = printable(f"warning: {directory}: its file system can't sync {kind} ({error.strerror})")
            print(f"{where}; a power cut may lose the last files", file=sys.stderr, flush=True)


def map_copy(handle: int) -> mmap.mmap:
    """A map of a whole file, which is not empty. What is written to it changes the process's copy, and not the file.

    The file may be larger than memory. Linux reserves memory for all copies otherwise, and refuses such a map.
    """
    return mmap.mmap(handle, 0, flags=mmap.MAP_PRIVATE | MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def sweep(directory: Path) -> None:
    """Remove what killed writers have left in `directory` and below; no writer may be at work there."""
    for path in directory.rglob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wait_for(path: Path, *, patience: float = 30) -> bool:
    """Whether it is there, waiting for what another machine has just made on a file system of all."""
    deadline = time.monotonic() + patience
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    return path.exists()
