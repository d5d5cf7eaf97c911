"""The rooms of the bench: each imports only from those below it, and no room knows a project."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from .checkout import ROOT

SOURCE = ROOT / "src/samebench"
# From the bottom up.
ROOMS = ["host", "core", "data", "environment", "runs", "training", "serving", "shipping", "workspace", "tasks"]

SEAM = {"samebench.project", "samebench.settings"}  # above core: what a project is
# What the seam names, and does not import.
TYPES = {"samebench.training.task", "samebench.training.task.Task"}
TYPES |= {"samebench.serving.serving", "samebench.serving.serving.Serving"}


def imported(path: Path) -> Iterator[str]:
    """The full names of the modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_folder_is_a_room_and_no_module_lies_outside() -> None:
    folders = sorted(path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__")
    assert folders == sorted(ROOMS)
    assert sorted(path.name for path in SOURCE.glob("*.py")) == ["__init__.py", "project.py", "settings.py"]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_those_below_it(room: str) -> None:
    below = {"samebench", *(f"samebench.{name}" for name in ROOMS[: ROOMS.index(room) + 1])}
    if room not in {"host", "core"}:
        below |= SEAM
    for path in (SOURCE / room).rglob("*.py"):
        for name in imported(path):
            if name.split(".")[0] == "samebench":
                assert ".".join(name.split(".")[:2]) in below, f"{path.relative_to(ROOT)} imports {name}"


def test_the_bench_imports_no_project() -> None:
    projects = {path.name for path in (ROOT / "src").iterdir() if path.is_dir()} - {"samebench"}
    for path in SOURCE.rglob("*.py"):
        assert not projects & {name.split(".")[0] for name in imported(path)}, path


def test_the_seam_imports_only_the_core() -> None:
    for name in ("project", "settings"):
        for imported_name in imported(SOURCE / f"{name}.py"):
            if imported_name.split(".")[0] == "samebench" and imported_name not in TYPES:
                assert imported_name.startswith(("samebench.core", *SEAM)), imported_name
