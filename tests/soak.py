"""The figures of `make soak`, each with its conditions, in a file that git keeps: docs/soak.md."""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from samebench.core import files
from samebench.environment import determinism

PAGE = Path(__file__).resolve().parents[1] / "docs/soak.md"
HEAD = """# What `make soak` has shown

Each line is written by the test that it names, when it passes; it stands until that test passes again.

| promise | figure | when and where |
|---|---|---|
"""


def busy() -> str:
    """How much else this machine has been doing, for a figure in seconds."""
    return f"load {os.getloadavg()[2]:.1f} in the last 15 minutes"


def record(test: str, figure: str) -> None:
    """Put the figure of a test that has passed into the page, in place of its last one."""
    rows = PAGE.read_text().splitlines()[HEAD.count("\n") :] if PAGE.is_file() else []
    promise = test.removeprefix("test_").replace("_", " ")
    cores = len(os.sched_getaffinity(0))
    where = f"{datetime.now(UTC):%Y-%m-%d}, {determinism.chip()}, {cores} cores, torch {torch.__version__}"
    rows = [row for row in rows if not row.startswith(f"| {promise} |")]
    rows.append(f"| {promise} | {figure} | {where}, {platform.system()} {platform.release().split('-')[0]} |")
    files.write(PAGE, (HEAD + "\n".join(sorted(rows)) + "\n").encode())
