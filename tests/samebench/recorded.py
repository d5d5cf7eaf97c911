"""Runs as a training leaves them, without one, and a terminal to look at them."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from samebench.runs.records import Record, read
from tests.commands import environment

DEFAULTS = {
    "data": "blots",
    "network": "conv",
    "init_names": "",
    "init_statistics": "",
    "epochs": 6,
    "seed": 0,
    "batch_size": 256,
    "shards": 4,
    "lr": 0.25,
    "weight_decay": 0.0005,
    "label_smoothing": 0.1,
    "optimizer": "sgd",
    "clip_norm": 0.0,
    "freeze": "",
    "fast": False,
    "device": "auto",
}


def name(number: int) -> str:
    """That of the run which is newer than all with a lower number, where no receipt has a sequence."""
    return f"{datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number):%Y%m%d-%H%M%S}-abcd"


def write_run(
    home: Path, number: int, *, settings: dict[str, Any] | None = None, state: str = "done", **facts: Any
) -> Record:
    """A run of `home`; of those that are done with figures that are the worse the higher the number."""
    directory = home / name(number)
    directory.mkdir(parents=True)
    figures = {
        "validation_loss": 0.4 + number / 100,
        "validation_accuracy": 0.94 - number / 1000,
        "test_accuracy": 0.93 - number / 1000,
        "seconds": 140.0,
    }
    sources = {f"src/tiny/{each}.py": "e" * 64 for each in range(80)}
    receipt = {
        "run": directory.name,
        "state": state,
        "started": "2026-11-01T00:00:00Z",
        "settings": DEFAULTS | (settings or {}),
        "data_version": "d" * 64,
        "code": {"commit": "c" * 40, "dirty": False, "source": sources},
        "history": [{"train_loss": 0.5, "validation_loss": 0.5, "accuracy": 0.9, "seconds": 20.0}] * 6,
        **(figures if state == "done" else {}),
        **facts,
    }
    (directory / "receipt.json").write_text(json.dumps(receipt, indent=2))
    (directory / ".lock").touch()
    return read(directory)


def on_terminal(words: Sequence[str], *, at: Path, columns: int = 80, typed: str = "") -> tuple[int, str]:
    """The exit code of Python with these words, and what it shows on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    variables = environment({"COLUMNS": str(columns)})
    with subprocess.Popen(
        [sys.executable, *words], cwd=at, env=variables, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        shown = b""
        while part := _read(ours):
            shown += part
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n")


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 4096)
    except OSError:  # the other side is closed
        return b""
