"""Runs: one training each, in `runs/<UTC time>-<four letters>/`, told by its receipt."""

import json
import secrets
import shutil
import string
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from samebench import files
from samebench.command import Lacking, Refusal

ROOM = 32 << 20  # bytes for weights, curves and pictures


class Run:
    """A run's directory and its receipt, which is written whole or not at all."""

    def __init__(self, directory: Path, receipt: dict[str, Any]) -> None:
        """Hold what `start` made or `find` found."""
        self.directory = directory
        self.receipt = receipt

    @property
    def weights(self) -> Path:
        """Where the best weights are."""
        return self.directory / "model.pt"

    @classmethod
    def start(cls, home: Path, **facts: Any) -> Self:
        """Make a new directory in `home` with a receipt in state `running`, or nothing at all.

        Raises Lacking where there is too little room, OSError where `home` can't be written.
        """
        if home.exists() and not home.is_dir():
            raise Refusal(f"{home}: not a directory, and runs go there; move it away")
        home.mkdir(parents=True, exist_ok=True)
        if (free := shutil.disk_usage(home).free) < ROOM:
            raise Lacking(f"{home}: {free:,} bytes free, a run needs {ROOM:,}; free some room")
        letters = "".join(secrets.choice(string.ascii_lowercase) for _ in range(4))
        directory = home / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{letters}"
        directory.mkdir()
        run = cls(directory, {})
        try:
            run.record(state="running", **facts)
        except BaseException:
            shutil.rmtree(directory)
            raise
        return run

    @classmethod
    def open(cls, directory: Path) -> Self:
        """The run in `directory`. Raises Refusal where there is none or its receipt can't be read."""
        path = directory / "receipt.json"
        if not path.is_file():
            raise Refusal(f"{directory}: no run with a receipt there; take one of runs/, or train first")
        try:
            return cls(directory, json.loads(path.read_bytes()))
        except ValueError as error:
            raise Refusal(f"{path}: not JSON ({error}); take another run") from error

    @classmethod
    def newest(cls, home: Path, *, state: str = "done") -> Self:
        """The newest run in `home` that is in this state. Raises Refusal where there is none."""
        for path in sorted(home.glob("*/receipt.json"), reverse=True):
            run = cls.open(path.parent)
            if run.receipt.get("state") == state:
                return run
        raise Refusal(f"{home}: no run in state {state}; train first, or name a run")

    def record(self, **facts: Any) -> None:
        """Add facts to the receipt and put it on the disk."""
        self.receipt |= facts
        self._write()

    def fail(self) -> None:
        """Record the state `failed`, on a full disk in the room that the curves took."""
        try:
            self.record(state="failed")
        except OSError:
            for curves in self.directory.glob("events.*"):
                curves.unlink()
            with suppress(OSError):
                self._write()

    def _write(self) -> None:
        content = json.dumps(self.receipt, indent=2) + "\n"
        files.write(self.directory / "receipt.json", content.encode())
