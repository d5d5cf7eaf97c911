"""Who is at work on a run: the process that has the `.lock` in its folder locked, for as long as it lives."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samebench.command import Refusal

LOCK = ".lock"


class Busy(Refusal):
    """Another process is at work on it, or was, and has left nothing."""


def take(directory: Path, *, patience: float = 0) -> tuple[int, bool]:
    """A handle that keeps other processes out until it is closed; False on a file system without locks.

    Raises Busy where one is still at work on it after so many seconds, or has deleted it by then.
    """
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    deadline = time.monotonic() + patience
    while (alone := _locked(handle, fcntl.LOCK_EX)) is None:
        if time.monotonic() >= deadline:
            os.close(handle)
            raise Busy(f"{directory}: in progress in another process; wait for it, or stop it first")
        time.sleep(0.05)
    if not _is_at(directory / LOCK, handle):
        os.close(handle)
        raise Busy(f"{directory}: deleted by another process in this moment; take another run")
    return handle, alone


def held(directory: Path) -> bool | None:
    """Whether a process is at work on it, changing nothing; None where that can't be found out."""
    try:
        handle = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        free = _locked(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)
    return True if free is None else (False if free else None)


@contextmanager
def alone(folder: Path) -> Iterator[bool]:
    """Wait until nobody else does this in `folder`, and let nobody begin; False on a file system without locks."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield bool(_locked(handle, fcntl.LOCK_EX, wait=True))
    finally:
        os.close(handle)


def _locked(handle: int, kind: int, *, wait: bool = False) -> bool | None:
    """Whether it is ours: None while another has it, False where the file system knows no locks."""
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False
