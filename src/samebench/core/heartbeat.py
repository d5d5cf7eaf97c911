"""A sign of life beside the lock: whether a process of another machine works on a run.

`flock` is seen by every process of one kernel, also from containers. On some network file systems it is not seen by
other machines. So the process that works on a run touches `.heartbeat` in the run's folder every `INTERVAL` seconds.
The clocks of two machines are never compared: an age is the difference of two times that the file server wrote.
The file has the machine's name. It stays in the folder, and no receipt has it: receipts are passed on.
"""

import json
import os
import platform
import secrets
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.untrusted import read_bytes, read_json

FILE = ".heartbeat"
INTERVAL = 2.0  # seconds between two beats
WATCH = 20.0  # seconds without a beat, while it is watched, after which the process counts as dead
STALE = 300.0  # age in seconds of the last beat after which the process counts as dead without being watched
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Worker:
    """A process that works on a run."""

    boot: str  # the same for all processes of one kernel, and for no others
    host: str
    pid: int
    token: str  # a new one each time that a process begins to work

    @classmethod
    def current(cls) -> Self:
        """This process."""
        return cls(boot=boot_id(), host=platform.node(), pid=os.getpid(), token=secrets.token_hex(8))

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """The process that has left a heartbeat in `directory`; None without one."""
        try:
            facts = read_json(directory / FILE, max_bytes=4096)
            return cls(str(facts["boot"]), str(facts["host"]), int(facts["pid"]), str(facts["token"]))
        except FileNotFoundError:
            return None
        except (UsageError, LookupError, TypeError, ValueError):
            return cls(boot="", host="an unknown machine", pid=0, token="")

    @property
    def is_here(self) -> bool:
        """Whether it is of this machine, since its last start, so that its lock is seen."""
        return self.boot == boot_id()

    def __str__(self) -> str:
        """Where it is, for a message."""
        return f"process {self.pid} on {self.host}"


class Heartbeat:
    """The heartbeat of this process in a run's folder, from its making until `stop`."""

    def __init__(self, directory: Path) -> None:
        """Write the file and begin to touch it. Raises OSError where it can't be written."""
        self._path = directory / FILE
        self._content = json.dumps(asdict(Worker.current())).encode()
        files.write(self._path, self._content)
        self._handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def is_ours(self) -> bool:
        """Whether the file is still the one of this process: another one that takes the run over replaces it."""
        try:
            return read_bytes(self._path, max_bytes=4096) == self._content
        except FileNotFoundError:
            return False
        except (UsageError, OSError):
            return True  # can't be found out now

    def stop(self) -> None:
        """Take it away."""
        self._stopped.set()
        self._thread.join()
        os.close(self._handle)
        if self.is_ours():
            with suppress(OSError):
                self._path.unlink()

    def _beat(self) -> None:
        while not self._stopped.wait(INTERVAL):
            with suppress(OSError):  # the server may come back
                os.utime(self._handle)  # of our own file, also where another one is in its place


def boot_id() -> str:
    """What names this machine since its last start; the same in its containers."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return platform.node()


def age(directory: Path, lock: int) -> float | None:
    """Seconds since the last beat in `directory`, by the file server's clock; None if that can't be found out.

    `lock` is the open lock file there: its own time is set to the server's.
    """
    try:
        os.utime(lock)
        return abs(os.fstat(lock).st_mtime - _last_beat(directory))  # also where the server's clock was set back
    except OSError:
        return None


def is_seen(directory: Path) -> bool:
    """Whether a beat comes within `WATCH` seconds."""
    deadline = time.monotonic() + WATCH
    with suppress(FileNotFoundError):
        before = _last_beat(directory)
        while time.monotonic() < deadline:
            time.sleep(0.1)
            if _last_beat(directory) != before:
                return True
    return False


def _last_beat(directory: Path) -> float:
    """The time of the last beat; opening the file has a network file system ask its server."""
    handle = os.open(directory / FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return os.fstat(handle).st_mtime
    finally:
        os.close(handle)
