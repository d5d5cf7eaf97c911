r"""Plain trainings over a grid of settings, several at a time; the same command again goes on where it stood.

python -m samebench.runs.sweep \
    --grid "lr=0.05,0.1 network=conv,linear" --jobs 2 -- --epochs 2
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from samebench import project
from samebench.core import command, file_lock, flags, signals
from samebench.core.command import Interrupted, UsageError
from samebench.core.file_lock import BusyError
from samebench.core.text import printable
from samebench.environment import cores
from samebench.runs import grid, list_runs, records
from samebench.runs.grid import Point
from samebench.runs.records import Record

POINTS = ".points"  # in runs/: a folder for each point that a sweep trains, which is locked meanwhile
JOB = {prefix + name for prefix in ("", "PET_") for name in ("JOB", "RDZV_ID")}  # one name, so one run: not for many


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to train, and how many at a time; after `--`, the flags of all."""

    training: str = field(default="samebench.training", metadata={"help": "the module that trains"})
    grid: str = field(default="", metadata={"help": "settings and their values: lr=0.05,0.1 network=conv,linear"})
    jobs: int = field(default=1, metadata={"help": "trainings at a time, each with its share of the cores"})

    def __post_init__(self) -> None:
        """Raise UsageError for what can't be."""
        if self.jobs < 1:
            raise UsageError(f"JOBS={self.jobs}: give 1 or more")


class Job:
    """A training in a process of its own, whose lines are passed on under its point's name."""

    def __init__(self, point: Point, training: str, *, core_count: int, lock: int) -> None:
        """Start it on so many cores. It has the `lock` of its point too, in case that we are killed before it ends."""
        self.point, self._lock = point, lock
        self.last = ""
        variables = {name: value for name, value in os.environ.items() if name not in JOB}
        resume = ["--resume", str(point.run.directory)] if point.run else []
        # In a group of its own, as a Ctrl-C of the terminal's beside ours would be its second, and end it at once.
        self._process = subprocess.Popen(
            [sys.executable, "-m", training, *point.cli_args, *resume],
            env=variables | {cores.SHARE: str(core_count)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
            pass_fds=(lock,),
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        if self._process.poll() is not None:
            self._reader.join(timeout=5)
            self._release()
        return self._process.returncode

    def _release(self) -> None:
        if self._lock >= 0:
            release(self.point, self._lock)
        self._lock = -1

    def stop(self) -> None:
        """Have it keep what it has, and end."""
        self._process.send_signal(signal.SIGTERM)

    def _pass_on(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in map(printable, lines):
                self.last = line.strip() or self.last
                print_line(f"{self.point.name} | {line.rstrip()}")


def print_line(line: str) -> None:
    """One line, in one piece; where nobody reads any more, the trainings go on."""
    with suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def claim(point: Point) -> int | None:
    """A handle that keeps other sweeps from this point until `release`; None while another sweep trains it."""
    folder = records.RUNS / POINTS / point.key
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return file_lock.acquire(folder)[0]
    except (BusyError, FileNotFoundError):  # the other sweep trains it, or has just removed the folder at its end
        return None


def release(point: Point, handle: int) -> None:
    """Let other sweeps train this point."""
    folder = records.RUNS / POINTS / point.key
    with suppress(OSError):
        (folder / file_lock.LOCK).unlink()
        folder.rmdir()
    os.close(handle)


def start(point: Point, training: str, *, core_count: int) -> Job | None:
    """Train a point that no other sweep trains, or has trained since it was planned."""
    if (handle := claim(point)) is None:
        return None
    (now,) = grid.match_runs([point], records.find())
    if now.state in {"done", "running"}:
        release(point, handle)
        return None
    return Job(now, training, core_count=core_count, lock=handle)


def train(points: Iterable[Point], training: str, *, jobs: int) -> tuple[dict[str, str], bool]:
    """Train them in their order; what those that failed said last, and whether Ctrl-C or SIGTERM came."""
    waiting, active, failed = list(points), list[Job](), dict[str, str]()
    core_count = max(1, cores.available_cpus() // max(1, min(jobs, len(waiting))))
    with signals.interruptible() as is_stop_requested, _stopping(active):
        while (waiting or active) and not is_stop_requested():
            for job in [job for job in active if job.code() is not None]:
                active.remove(job)
                if job.code():
                    failed[job.point.name] = f"exit code {job.code()}: {job.last}"
            while waiting and len(active) < jobs:
                started = start(waiting.pop(0), training, core_count=core_count)
                active.extend([started] if started else [])
            time.sleep(0.05)
    return failed, bool(waiting or active)


@contextmanager
def _stopping(active: Sequence[Job]) -> Iterator[None]:
    """Leave none of them at work, however it ends."""
    try:
        yield
    finally:
        for job in active:
            job.stop()
        while any(job.code() is None for job in active):
            time.sleep(0.05)


def runs_of_points(points: Sequence[Point], before: Sequence[Record], after: Sequence[Record]) -> list[Record]:
    """The runs of the points, in their order: those that they had, and else the newest that have come since."""
    old = {record.name for record in before} - {point.run.name for point in points if point.run}
    new = [record for record in after if record.name not in old]
    each = (next((record for record in new if record.settings == point.settings), None) for point in points)
    return [record for record in each if record]


def plan(args: Args, words: Sequence[str], runs: Sequence[Record]) -> list[Point]:
    """The points, each with the run that it has, and how many are to be trained said. Raises UsageError."""
    planned = grid.match_runs(grid.points(project.settings_class(), args.grid, words), runs)
    states = [point.state for point in planned]
    count = {state: states.count(state) for state in ("done", "running", "interrupted", "")}
    busy = f"{count['running']} in progress elsewhere, " if count["running"] else ""
    todo = f"{count['done']} done, {busy}{count['interrupted']} to resume, {count['']} to train"
    print_line(f"points: {len(planned)}; {todo}")
    return planned


def describe_unfinished(points: Sequence[Point], runs: Sequence[Record]) -> dict[str, str]:
    """Why each of the points that is not done at the end is left: another process is at work on it."""
    unfinished = [point for point in grid.match_runs(points, runs) if point.state != "done" and is_elsewhere(point)]
    return {point.name: f"{_where(point)} is in progress in another process" for point in unfinished}


def is_elsewhere(point: Point) -> bool:
    """Whether another process trains this point."""
    if point.state == "running":
        return True
    if (handle := claim(point)) is None:
        return True
    release(point, handle)
    return False


def _where(point: Point) -> str:
    return str(point.run.directory) if point.run else "its run"


def main(argv: Sequence[str]) -> int:
    """Plan, train, tell; 1 if a point failed."""
    border = argv.index("--") if "--" in argv else len(argv)
    options, words = argv[:border], argv[border + 1 :]
    args = flags.parse(Args, options, program="python -m samebench.runs.sweep", about="Train over a grid of settings.")
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # the terminal was closed: as Ctrl-C
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    before = records.find()
    planned = plan(args, words, before)
    todo = [point for point in planned if point.state in {"", "interrupted"}]
    failed, was_stopped = train(todo, args.training, jobs=args.jobs)
    after = records.find()
    if not was_stopped:
        failed |= describe_unfinished([point for point in planned if point.name not in failed], after)
    if runs := runs_of_points(planned, before, after):
        swept = [part.partition("=")[0] for part in args.grid.split()]
        print_line(list_runs.lines(runs, flags.defaults(project.settings_class()), first=swept))
    for name, reason in failed.items():
        print(f"{name}: {reason}", file=sys.stderr)
    if was_stopped:
        raise Interrupted("interrupted; the same command goes on with it")
    return command.NO if failed else command.DONE


if __name__ == "__main__":
    command.run(main)
