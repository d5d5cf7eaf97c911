"""A checkout to try things in, and commands run in it as a user would."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from samebench import project

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
    "PROJECT",
    "SORT",
    "TEXT",
    "YES",
}

# That of the data set of the tiny project, whose files are nowhere.
LISTING = "".join(f"{'0' * 64}  {name}\n" for name in ("dataset.safetensors", "report.csv"))

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
    """The tracked parts that `make` needs, with the project that is on the bench; `to` may have spaces in its name."""
    to.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(ROOT / name, to / name)
    (to / "notebooks").mkdir()
    for name in ("docker", "src"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.glob("notebooks/*.ipynb"):  # none, where a team has deleted the pilot's
        shutil.copy(path, to / "notebooks")
    (to / "data").mkdir()
    if (name := project.name()) == "tiny":
        shutil.copytree(ROOT / "tests/projects/tiny", to / "src/tiny", ignore=shutil.ignore_patterns("__pycache__"))
        (to / "data/blots.sha256").write_text(LISTING)
    change_project(to / "pyproject.toml", name)
    for reference in (ROOT / "data").glob(f"{project.settings_class().data}.*"):
        shutil.copy(reference, to / "data")
    return to


def change_project(path: Path, name: str) -> None:
    """Name the project in a pyproject.toml."""
    path.write_text(re.sub(r'^project = "\w+"', f'project = "{name}"', path.read_text(), flags=re.MULTILINE))


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    path: Path | None = None,
    timeout: float = 240,
    variables: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `command` in the checkout `cwd` with a fresh user's variables; the programs in `path` come first."""
    dropped = INHERITED - {"PROJECT"} if cwd == ROOT else INHERITED  # a copy names its project
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= variables or {}
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )
