"""Hashes of the files of data sets: that of a large file is computed once, and remembered while the file is the same.

A file is the same while its inode, its size and the times of its last changes are. The system sets the last of these
times (ctime), to the nanosecond, and nobody else can.
"""

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from samebench.core import files, untrusted
from samebench.core.command import UsageError
from samebench.core.paths import ROOT

MIN_BYTES = 64 << 20  # a smaller file is read again: it takes 0.1 s
MAX_FILES = 200  # that are remembered; those that were hashed last
SETTLED = 2.0  # seconds since the last change: a later one would have a different time on any file system


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return remember(path, "sha256", lambda: files.digest(path))


def md5(path: Path) -> str:
    """The name that DVC gives to a file's content; no more than a name, sha256 is what is relied on."""

    def compute() -> str:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()

    return remember(path, "md5", compute)


def remember(path: Path, kind: str, compute: Callable[[], str]) -> str:
    """What `compute` says of a file's content: the answer of last time, if the file is large and has not changed."""
    identity = _identity(path)
    if identity["size"] < MIN_BYTES:
        return compute()
    key = str(path.resolve())
    entry = _read().get(key, {})
    remembered = entry.get(kind) if entry.get("file") == identity else None
    if isinstance(remembered, str):
        return remembered
    answer = compute()
    settled = time.time() - max(identity["mtime_ns"], identity["ctime_ns"]) / 1e9 > SETTLED
    if settled and _identity(path) == identity:
        entries = _read()
        entry = entries.pop(key, {})
        entry = entry if entry.get("file") == identity else {"file": identity}
        entries = dict([*entries.items(), (key, {**entry, kind: answer})][-MAX_FILES:])
        with suppress(OSError):  # a checkout that can't be written to remembers nothing
            _place().parent.mkdir(exist_ok=True)
            files.write(_place(), json.dumps(entries).encode())
    return answer


def _place() -> Path:
    return ROOT / ".samebench/digests.json"


def _identity(path: Path) -> dict[str, int]:
    status = path.stat()
    names = {"size": "st_size", "inode": "st_ino", "mtime_ns": "st_mtime_ns", "ctime_ns": "st_ctime_ns"}
    return {name: getattr(status, field) for name, field in names.items()}


def _read() -> dict[str, dict[str, Any]]:
    """What is remembered, by the path of each file; nothing where there is no such record."""
    try:
        entries = untrusted.read_json(_place(), max_bytes=1 << 20)
    except (OSError, UsageError):
        return {}
    return {key: entry for key, entry in entries.items() if isinstance(entry, dict)}
