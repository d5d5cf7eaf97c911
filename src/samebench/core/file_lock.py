"""Who is at work on a run: the process that has the `.lock` in its folder locked, for as long as it lives.

Where a lock is not seen, on another machine or on a file system without locks, the heartbeat says so.
"""

import fcntl
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from samebench.core import heartbeat
from samebench.core.command import UsageError
from samebench.core.heartbeat import Worker
from samebench.core.text import printable

LOCK = ".lock"
DAY = 86400.0  # seconds
FOLDER_LOCK = ".folder.lock"  # in place of the folder itself, where only a file that is open for writing can be locked


class BusyError(UsageError):
    """Another process is at work on it, or was, and has left nothing."""


def acquire(directory: Path, *, patience: float = 0) -> tuple[int, bool]:
    """A handle that keeps other processes out until it is closed; False on a file system without locks.

    Raises BusyError where one is still at work on it after so many seconds, or has deleted it by then; also where the
    process may be alive on another machine. With `patience` its heartbeat is watched until that is known.
    """
    handle = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    deadline = time.monotonic() + patience
    while (locked := _try_lock(handle, fcntl.LOCK_EX)) is None:
        if time.monotonic() >= deadline:
            os.close(handle)
            raise BusyError(f"{directory}: in progress in another process; wait for it, or stop it first")
        time.sleep(0.05)
    if not _is_at(directory / LOCK, handle):
        os.close(handle)
        raise BusyError(f"{directory}: deleted by another process in this moment; take another run")
    try:
        _refuse_live_worker(directory, handle, locks=locked, watch=patience > 0)
    except BaseException:
        os.close(handle)
        raise
    return handle, locked


def is_locked(directory: Path) -> bool | None:
    """Whether a process is at work on it, changing nothing; None where that can't be found out."""
    try:
        handle = os.open(directory / LOCK, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        free = _try_lock(handle, fcntl.LOCK_SH)
        if free is None:
            return True
        worker = Worker.of(directory)
        if worker is None or (free and worker.is_here):
            return False if free else None
        age = heartbeat.age(directory, handle)
    finally:
        os.close(handle)
    return None if age is None else age < heartbeat.STALE


@contextmanager
def exclusive(folder: Path) -> Iterator[bool]:
    """Wait until nobody else does this in `folder`, and let nobody begin; False on a file system without locks."""
    handle = _lock_folder(folder)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def machine_tag() -> str:
    """Eight letters for this machine since its last start, for names of folders that a killed process leaves."""
    return hashlib.sha256(heartbeat.boot_id().encode()).hexdigest()[:8]


def abandoned(folder: Path, pattern: str) -> list[Path]:
    """The paths like `pattern` that killed processes have left in `folder`, which this process has locked.

    Another machine may not see the lock: what has not this machine's tag must be a day old by the file server's clock.
    """
    os.utime(folder)
    now = folder.stat().st_mtime
    return [path for path in folder.glob(pattern) if machine_tag() in path.name or now - path.stat().st_mtime > DAY]


def _lock_folder(folder: Path) -> int | None:
    """The handle that has `folder` locked; None on a file system without locks."""
    write = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    # NFS locks no folder: it makes of flock a lock for writing, and a folder can't be opened for writing.
    for path, mode in ((folder, os.O_RDONLY), (folder / FOLDER_LOCK, write)):
        try:
            handle = os.open(path, mode | os.O_CLOEXEC, 0o666)
        except OSError:
            if path == folder:
                raise
            return None
        if _try_lock(handle, fcntl.LOCK_EX, wait=True):
            return handle
        os.close(handle)
    return None


def _try_lock(handle: int, kind: int, *, wait: bool = False) -> bool | None:
    """Whether it is ours: None while another has it, False where the file system knows no locks."""
    try:
        fcntl.flock(handle, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return None
    except OSError:
        return False
    return True


def _refuse_live_worker(directory: Path, handle: int, *, locks: bool, watch: bool) -> None:
    """Raise BusyError where a process whose lock is not seen may be at work; remove the heartbeat of a dead one."""
    worker = Worker.of(directory)
    if worker is None:
        return
    if not (locks and worker.is_here):
        age = heartbeat.age(directory, handle)
        if age is None or age < heartbeat.STALE:
            _refuse_heartbeat(directory, worker, age, watch=watch)
    (directory / heartbeat.FILE).unlink(missing_ok=True)


def _refuse_heartbeat(directory: Path, worker: Worker, age: float | None, *, watch: bool) -> None:
    who = printable(f"{directory}: in progress in {worker}")
    if not watch:
        ago = "some time" if age is None else f"{age:.0f} seconds"
        remedy = f"stop it there, or wait until its last one is {heartbeat.STALE:.0f} seconds old"
        raise BusyError(f"{who}, which gave a sign of life {ago} ago; {remedy}")
    print(f"{who}, as it seems: watching for {heartbeat.WATCH:.0f} seconds whether it is alive", file=sys.stderr)
    if heartbeat.is_seen(directory):
        raise BusyError(f"{who}, which is alive; wait for it, or stop it there")


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except FileNotFoundError:
        return False
