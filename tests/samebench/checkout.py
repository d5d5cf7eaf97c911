"""A checkout to try things in, and commands run in it as a user would."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What the runtime leaves in our environment, and make in that of its children: a fresh user has none of it.
INHERITED = {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS"}
INHERITED |= {"SAMEBENCH", "SAMEBENCH_RUNTIME", "SAMEBENCH_IMAGE", "SAMEBENCH_BASE", "SAMEBENCH_BUILDER"}
INHERITED |= {
    "RUNTIME",
    "GPU",
    "CUDA_VISIBLE_DEVICES",
    "ARGS",
    "DATA",
    "DATASET",
    "DATA_REMOTE",
    "FAST",
    "FROM",
    "NAME",
    "INIT",
    "RUN",
    "RESUME",
    "QUICK",
    "CHECK",
    "EXPECT",
    "FILTER",
    "GRID",
    "JOBS",
    "JSON",
    "KEEP",
    "NOTE",
    "SORT",
    "TEXT",
    "YES",
}

FILES = (
    ".dockerignore",
    ".gitattributes",
    ".gitignore",
    ".hadolint.yaml",
    ".pre-commit-config.yaml",
    "Makefile",
    "pyproject.toml",
    "requirements.lock",
)


def copy_checkout(to: Path) -> Path:
    """The tracked parts that `make` needs, and of the data sets the pilot's; `to` may have spaces in its name."""
    to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(ROOT / name, to / name)
    for name in ("docker", "notebooks", "src"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    (to / "data").mkdir()
    for reference in (ROOT / "data").glob("fashion-mnist.*"):
        shutil.copy(reference, to / "data")
    return to


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    path: Path | None = None,
    timeout: float = 240,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `command` in the checkout `cwd` with a fresh user's variables; the programs in `path` come first."""
    environment = {name: value for name, value in os.environ.items() if name not in INHERITED}
    environment |= variables or {}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
