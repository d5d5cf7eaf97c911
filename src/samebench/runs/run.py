"""Runs: one training each, in `runs/<UTC time>-<four letters>/`, told by its receipt."""

import hashlib
import json
import os
import platform
import secrets
import shutil
import string
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from samebench import project
from samebench.core import file_lock, files, flags, make_command, untrusted
from samebench.core.command import RequirementError, UsageError
from samebench.core.heartbeat import Heartbeat
from samebench.core.text import printable
from samebench.data import versions
from samebench.data.source import Source, dataset_names, pick_default_run
from samebench.runs import metrics, receipt, records, train_command
from samebench.settings import TrainingSettings

RUNS = Path("runs")
MIN_FREE_BYTES = 64 << 20  # bytes for weights, checkpoints, curves and pictures
OUTCOME = {
    "ended",
    "weights_sha256",
    "model",
    "seconds",
    "peak_memory_bytes",
    "metrics",
    *metrics.FIRST_EDITION_COLUMNS,
}
EXPORTED = {"artifact_sha256"}
PATIENCE = 5.0  # seconds that another process may take to sweep


class Run:
    """A run's directory and its receipt, which is written whole or not at all."""

    def __init__(self, directory: Path, receipt: dict[str, Any], *, leads: bool = True) -> None:
        """Hold what `start` made or `open` found; who does not lead writes nothing."""
        self.directory = directory
        self.receipt = receipt
        self.leads = leads
        self._lock: int | None = None
        self._heartbeat: Heartbeat | None = None

    @property
    def weights(self) -> Path:
        """Where the best weights are."""
        return self.directory / "model.safetensors"

    @property
    def checkpoints(self) -> Path:
        """The folder of its checkpoints. Raises UsageError if it is a link."""
        return self.path("checkpoints")

    @property
    def artifact(self) -> Path:
        """The folder of its artifact. Raises UsageError if it is a link."""
        return self.path("artifact")

    def path(self, name: str) -> Path:
        """A file or folder in its directory to write to. Raises UsageError if it or the directory is a link."""
        return untrusted.path_inside(self.directory, name, where=self.directory)

    @property
    def name(self) -> str:
        """What checkpoints know it by, also after its directory was renamed."""
        return str(self.receipt.get("run", self.directory.name))

    @classmethod
    def start(cls, home: Path, *, uncommitted: bytes = b"", **facts: Any) -> Self:
        """Make a new directory in `home` with a receipt in state `running`, or nothing at all; hold it.

        What was not committed, if anything, lies beside the receipt as `uncommitted.diff`.

        Raises RequirementError where there is too little room, OSError where `home` can't be written.
        """
        if home.exists() and not home.is_dir():
            raise UsageError(f"{home}: not a directory, and runs go there; move it away")
        home.mkdir(parents=True, exist_ok=True)
        sweep(home)
        if (free := shutil.disk_usage(home).free) < MIN_FREE_BYTES:
            raise RequirementError(f"{home}: {free:,} bytes free, a run needs {MIN_FREE_BYTES:,}; free some room")
        letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
        directory = home / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"
        directory.mkdir()
        run = cls(directory, {})
        try:
            run.acquire()
            if uncommitted:
                files.write(directory / records.UNCOMMITTED, uncommitted)
            patch = {"uncommitted_sha256": _sha256(uncommitted)}
            with records.next_in_sequence(home) as place:
                run.record(run=directory.name, state="running", started=now(), **place, **facts, **patch)
        except BaseException:
            run.release()
            shutil.rmtree(directory)
            raise
        return run

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The run in `directory`.

        Raises UsageError where there is none, its receipt can't be read, it is a link, or it is of a different project.
        """
        records.check_is_no_link(directory)
        path = directory / "receipt.json"
        if not path.exists():
            raise UsageError(f"{directory}: no run with a receipt there; take one of runs/, or train first")
        if (record := records.read(directory)).damage:
            raise UsageError(f"{directory}: {record.damage}; take another run")
        if record.project not in {"", project.name()}:
            named = printable(record.project, longest=80)
            raise UsageError(f"{directory}: of the project {named}, not of {project.name()}; give PROJECT={named}")
        return cls(directory, dict(record.receipt))

    @classmethod
    def follow(cls, directory: Path) -> Self:
        """The run that another process of the group leads: what is recorded is that one's affair.

        Raises UsageError where it can't be seen from here.
        """
        if not files.wait_for(directory / "receipt.json"):
            raise UsageError(f"{directory}: not there on {platform.node()}; put runs/ where all machines see the same")
        return cls(directory, cls.open(directory).receipt, leads=False)

    @classmethod
    def of_job(cls, home: Path, job: str) -> Self | None:
        """The run made last in `home` that a job of this name has worked on, if there is one."""
        for record in records.candidates(home):
            if record.receipt.get("job") == job:
                return cls(record.directory, dict(record.receipt))
        return None

    @classmethod
    def newest(cls, home: Path, *, state: str = "") -> Self:
        """The run made last in `home`, in this state, if given. Raises UsageError where there is none."""
        for record in records.candidates(home):
            if state in {"", record.receipt["state"]}:
                return cls(record.directory, dict(record.receipt))
        raise UsageError(f"{home}: no run{f' in state {state}' if state else ''}; train first, or name a run")

    @classmethod
    def list_done(cls, home: Path, *, data: str) -> list[Self]:
        """The runs in `home` that are done on this data, the one that is taken first, then the newest.

        Empty is any data but the generated sets; the project's default always counts. A newer run that is passed over
        for its data is named.

        Raises UsageError where there is none, or no such data.
        """
        if not (Source.of(data).is_known() and ("/" not in data or Path(data).is_dir())) and data:
            sets = ", ".join(dataset_names())
            raise UsageError(f"data {data}: no set of that name, and no directory; there are {sets}")
        runs = [cls(each.directory, dict(each.receipt)) for each in records.candidates(home) if each.state == "done"]
        if matching := [run for run in runs if Source.matches(str(run.receipt.get("settings", {}).get("data")), data)]:
            if place := pick_default_run([run.receipt for run in matching]):
                other = f"{matching[0].directory}, was trained on another version of its data"
                print(f"the newest run, {other}: taking {matching[place].directory}", file=sys.stderr)
            return [matching.pop(place), *matching]
        suffix = f" on {data}" if data else f" on other data than {runs[0].read_settings().data}" if runs else ""
        raise UsageError(f"{home}: no run in state done{suffix}; train first, or name a run")

    def acquire(self, *, patience: float = PATIENCE, beat: bool = True) -> bool:
        """Keep other processes out until `release`; False on a file system without locks.

        Other machines see it by a heartbeat, unless `beat` is false. Raises UsageError where one is at work on it, or
        it is a link.
        """
        records.check_is_no_link(self.directory)
        self._lock, is_exclusive = file_lock.acquire(self.directory, patience=patience)
        if beat:
            try:
                self._heartbeat = Heartbeat(self.directory)
            except BaseException:
                self.release()
                raise
        return is_exclusive

    def check_is_ours(self) -> None:
        """Raise UsageError where another process has taken the run over, or deleted it, since `acquire`.

        That can be after this process, or its machine, had stood still for minutes.
        """
        if self._heartbeat and not self._heartbeat.is_ours():
            raise UsageError(
                f"{self.directory}: deleted, or taken over by another process; nothing more is written here"
            )

    def release(self) -> None:
        """Let others work on it."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def read_settings(self) -> TrainingSettings:
        """The settings in the receipt. Raises UsageError if this code has no such settings."""
        try:
            return flags.from_dict(project.settings_class(), self.receipt["settings"])
        except (LookupError, TypeError, AttributeError) as error:
            reason = printable(error, longest=120)
            raise UsageError(f"{self.directory}: settings of other code ({reason}); start a new run") from error

    def refuse_undone(self) -> None:
        """Raise UsageError, with what finishes it, where it is not done."""
        if (state := self.receipt.get("state")) != "done":
            raise UsageError(f"{self.directory}: {state}; finish it first: {self.resume_command()}")

    def resume_command(self) -> str:
        """The command that goes on with it, with every word that it needs where it is copied into a shell."""
        return train_command.make_resume_command(self.directory, self.receipt)

    def restore_data_hint(self, source: str = "") -> str:
        """What brings back the data that it was trained on, for a command that was told to take `source`."""
        dataset = Source.of(self.read_settings().data)
        if source and Source.of(source) != dataset:
            return f"that is another set than the run's, {dataset.name}: leave it out"
        if not dataset.has_listing():
            return "git has no version of that folder"
        listing, root = (
            self.receipt.get("listings", {}).get(f"data/{dataset.name}.sha256", ""),
            dataset.listing.parents[1],
        )
        if not (commit := versions.commit_of(dataset.name, listing, root=root)):
            return "no commit here has that of then"
        first = "commit that of now, then " if versions.is_changed(dataset.name, root=root) else ""
        fetch = make_command.make("data", dataset.make_words())
        return f"{first}git restore --source={commit[:12]} 'data/{dataset.name}.*' && {fetch}"

    def resume(self, entry: Mapping[str, Any], *, uncommitted: bytes = b"", **facts: Any) -> None:
        """Record that it runs again; nothing of how it had ended stays.

        What was not committed the n-th time lies beside the receipt as `uncommitted-<n>.diff`.
        """
        resumed = [*self.receipt.get("resumed", []), {**entry, "uncommitted_sha256": _sha256(uncommitted)}]
        if uncommitted:
            files.write(self.directory / f"uncommitted-{len(resumed)}.diff", uncommitted)
        self.receipt = {name: fact for name, fact in self.receipt.items() if name not in OUTCOME | EXPORTED}
        self.record(state="running", resumed=resumed, **facts)

    def end(self, **facts: Any) -> None:
        """Record the state `done` and what came out."""
        self.record(state="done", ended=now(), peak_memory_bytes=receipt.peak_memory(), **facts)

    def record(self, **facts: Any) -> None:
        """Add facts to the receipt and put it on the disk."""
        self.receipt |= facts
        self._write()

    def fail(self, state: str = "failed") -> None:
        """Record that it ended before its last epoch, on a full disk in the room that the curves took."""
        try:
            self.record(state=state)
        except OSError:
            for curves in self.directory.glob("events.*"):
                curves.unlink()
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        if not self.leads:
            return
        self.check_is_ours()
        content = json.dumps(self.receipt, indent=2) + "\n"
        files.write(self.directory / "receipt.json", content.encode())


def _sha256(patch: bytes) -> str | None:
    """The hash of what was not committed; None where it is nothing."""
    return hashlib.sha256(patch).hexdigest() if patch else None


def now() -> str:
    """The time in UTC, to the second."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def sweep(home: Path) -> None:
    """Clear up after killed trainings: temporary files go, and a run without a process is not `running`."""
    for lock in home.glob("*/.lock"):
        run = Run(lock.parent, {})
        if lock.parent.name.startswith("."):
            continue
        try:
            is_exclusive = run.acquire(patience=0, beat=False)
        except (UsageError, OSError):
            continue  # at work, or not ours to touch
        if is_exclusive:
            with suppress(UsageError, OSError):
                _clear(run)
        run.release()


def _clear(run: Run) -> None:
    files.sweep(run.directory)
    run.receipt = Run.open(run.directory).receipt
    if run.receipt.get("state") == "running":
        run.record(state="interrupted")
