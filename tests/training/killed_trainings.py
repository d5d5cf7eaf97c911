"""Trainings that are killed, by the hundred: a server that has torch loaded and forks one process for each.

python -m tests.training.killed_trainings    reads a line of JSON a training, answers each with its exit code

It has never computed a gradient itself, as torch refuses to in the children of a process that has.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samebench.environment import determinism

determinism.pin()

from samebench.runs.run import Run  # noqa: E402
from samebench.training import train  # noqa: E402 - once the CPU level stands
from tiny import data  # noqa: E402
from tiny.settings import Settings  # noqa: E402

SETTINGS = Settings(data="tiny", epochs=2, batch_size=32, shards=2, network="conv")
KNOWN = data.synthetic(0, training=144, test=40)

WRITES = [0, 25, 50, 75, 100]
POINTS = [
    "before open",
    *(f"{share} % written" for share in WRITES),
    "before fsync",
    "after fsync",
    "before rename",
    "after rename",
    "before fsync of the directory",
    "after fsync of the directory",
    "before clean-up",
    "after clean-up",
]


@dataclass(frozen=True, kw_only=True)
class Order:
    """One training in `home`: a new one, or the newest run taken up again; how it is killed, if at all."""

    home: str
    resume: bool = False
    after: float | None = None  # seconds until SIGKILL
    point: str = ""  # of a save at which it kills itself
    save: int = 1  # which save that is


class KilledAt:
    """Kills this process at one named point of a save; a save is the writing of a checkpoint."""

    def __init__(self, order: Order) -> None:
        """Put ourselves around the calls that a save is made of."""
        self.order = order
        self.saves = 0
        self.handle = self.directory = -1
        self.open, self.write, self.fsync = os.open, os.write, os.fsync
        self.replace, self.unlink = Path.replace, Path.unlink
        os.open, os.write, os.fsync = self.on_open, self.on_write, self.on_fsync  # type: ignore[assignment]
        Path.replace = lambda path, to: self.around("rename", self.replace, path, to)  # type: ignore[assignment]
        Path.unlink = lambda path, **how: self.around("clean-up", self.unlink, path, **how)  # type: ignore[method-assign]

    def reach(self, point: str) -> None:
        if point == self.order.point and self.saves == self.order.save:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        ours = ".safetensors." in str(path) and "step-" in str(path) and bool(flags & os.O_CREAT)
        if ours:
            self.saves += 1
            self.reach("before open")
        handle = self.open(path, flags, mode)
        # The number of a closed file may come again for another one.
        self.handle = handle if ours else -1
        self.directory = handle if str(path).endswith("checkpoints") else -1
        return handle

    def on_write(self, handle: int, content: Any) -> int:
        for share in WRITES:
            if handle == self.handle and self.order.point == f"{share} % written":
                self.write(handle, content[: len(content) * share // 100])
                self.reach(self.order.point)
                os.lseek(handle, 0, os.SEEK_SET)
        return self.write(handle, content)

    def on_fsync(self, handle: int) -> None:
        name = {self.handle: "fsync", self.directory: "fsync of the directory"}.get(handle, "")
        self.reach(f"before {name}")
        self.fsync(handle)
        self.reach(f"after {name}")

    def around(self, name: str, work: Callable[..., Any], path: Path, *words: Any, **how: Any) -> Any:
        ours = "step-" in path.name and ".safetensors" in path.name
        if ours:
            self.reach(f"before {name}")
        done = work(path, *words, **how)
        if ours:
            self.reach(f"after {name}")
        return done


def work(order: Order) -> None:
    """What a child does."""
    if order.point:
        KilledAt(order)
    home = Path(order.home)
    run = Run.newest(home) if order.resume and any(home.glob("*/receipt.json")) else None
    train.train(SETTINGS, run=run, runs=home, checkpoint_seconds=0)


def obey(order: Order) -> int:
    """Fork, kill as ordered, wait; the exit code, or less a signal's number."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        data.load = lambda name: KNOWN  # noqa: ARG005 - the parameter is part of what it stands for
        code = 1
        try:
            work(order)
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + (60 if order.after is None else order.after)
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.0005)
    return os.waitstatus_to_exitcode(ended[1])


if __name__ == "__main__":
    for line in sys.stdin:
        print(obey(Order(**json.loads(line))), flush=True)
