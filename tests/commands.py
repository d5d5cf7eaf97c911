"""Our programs as a user starts them: in a process of their own."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from samebench import project
from tests.samebench.checkout import copy_checkout

STRANGER = 1234  # a user of whom this machine knows nothing
AS_STRANGER = ("setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups")
SOURCE = Path(__file__).resolve().parents[1] / "src"


def lacking(reason: str) -> NoReturn:
    """Skips a test for want of a program, which .ci/run doesn't allow."""
    if os.environ.get("SAMEBENCH_REQUIRE"):
        pytest.fail(reason)
    pytest.skip(reason)


def source() -> Path:
    """The packages for a process of ours: `src`, or with the tiny project on the bench that of a copy that has it."""
    return _checkout_with_tiny() / "src" if project.name() == "tiny" else SOURCE


@functools.cache
def _checkout_with_tiny() -> Path:
    place = Path(tempfile.mkdtemp(prefix="samebench-"))
    place.chmod(0o755)  # a stranger may come in
    return copy_checkout(place / "checkout")


def remove_checkout_with_tiny() -> None:
    """The copy, if there is one."""
    if _checkout_with_tiny.cache_info().currsize:
        shutil.rmtree(_checkout_with_tiny().parent)
        _checkout_with_tiny.cache_clear()


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """This process's variables with `changes`, of which None unsets."""
    own: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(source()), "PYTHONWARNINGS": "error"}
    own["SAMEBENCH_RUNTIME"] = None  # a printed command would name it
    own["OPENBLAS_CORETYPE"] = None  # some machines of ours have it, and a training would say that it drifted
    if project.name() == "tiny":
        own["PROJECT"] = None  # the copy's pyproject.toml names it
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
