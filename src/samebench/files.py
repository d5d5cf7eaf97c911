"""Writing files so that a kill or a full disk leaves the old one or the new one, never half of one."""

import hashlib
import os
import secrets
from pathlib import Path

from samebench.command import Refusal

SEAL = b"samebench sha256 "


def write(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step: temporary file beside it, fsync, rename, fsync of the directory.

    Raises OSError naming `path`; the file that was there before is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make the renames in `directory` survive a power cut."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(payload: bytes) -> bytes:
    """`payload` after one header line that carries its SHA-256, so that damage shows before any parsing."""
    return SEAL + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def unseal(path: Path) -> bytes:
    """The payload of a sealed file. Raises Refusal where the file is not there, not sealed or damaged."""
    if not path.is_file():
        raise Refusal(f"{path}: not there; give a run that has finished an epoch")
    header, _, payload = path.read_bytes().partition(b"\n")
    if not header.startswith(SEAL):
        raise Refusal(f"{path}: not a sealed file of ours; nothing in it was read")
    expected, got = header.removeprefix(SEAL).decode(errors="replace"), hashlib.sha256(payload).hexdigest()
    if expected != got:
        raise Refusal(f"{path}: damaged, expected sha256 {expected}, got {got}; nothing in it was read")
    return payload
