"""Our programs as a user starts them: in a process of their own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

STRANGER = 1234  # a user of whom this machine knows nothing
AS_STRANGER = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
SOURCE = Path(__file__).resolve().parents[1] / "src"


def lacking(reason: str) -> NoReturn:
    """Skips a test for want of a program, which .ci/run doesn't allow."""
    if os.environ.get("SAMEBENCH_REQUIRE"):
        pytest.fail(reason)
    pytest.skip(reason)


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """This process's variables with `changes`, of which None unsets."""
    own: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONWARNINGS": "error"}
    own["SAMEBENCH_RUNTIME"] = None  # a printed command would name it
    own["OPENBLAS_CORETYPE"] = None  # some machines of ours have it, and a training would say that it drifted
    return {name: value for name, value in {**own, **(changes or {})}.items() if value is not None}


def stranger_may_start() -> bool:
    """Whether we may become the stranger, and they may enter the folders of our Python and our sources."""
    words = [*AS_STRANGER, sys.executable, "-c", "import torch, samebench.training.train"]
    if not shutil.which("setpriv"):
        return False
    return subprocess.run(words, cwd="/", env=environment(), capture_output=True).returncode == 0


def start(
    *words: str, at: Path, changes: Mapping[str, str | None] | None = None, before: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """Python with these words, its output kept; `before` starts it, as AS_STRANGER does."""
    return subprocess.Popen(
        [*before, sys.executable, *words],
        cwd=at,
        env=environment(changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(*words: str, at: Path, changes: Mapping[str, str | None] | None = None) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    process = start(*words, at=at, changes=changes)
    out, err = process.communicate(timeout=240)  # a bound for a busy machine, below that of a test
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def open_to_others(place: Path) -> None:
    """Let other users come to `place`, in however many of pytest's folders it lies."""
    for folder in [place, *place.parents]:
        folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of-"):
            break
