"""The seam between the bench and a project: which project is on the bench, and where its parts are.

A project is a package below `src`. `[tool.samebench] project` in `pyproject.toml` names it; PROJECT= names a different
one for a single call. The bench imports these modules of it, each only when a command needs it:

| module         | has                      | needs                |
|----------------|--------------------------|----------------------|
| `settings.py`  | `Settings`, `Budgets`    | the standard library |
| `task.py`      | `TASK`                   | torch                |
| `serving.py`   | `SERVING`                | the server's lock    |
"""

import importlib
import os
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from samebench.core.command import UsageError
from samebench.core.paths import ROOT

if TYPE_CHECKING:
    from samebench.serving.serving import Serving
    from samebench.settings import Budgets, TrainingSettings
    from samebench.training.task import Task

NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Metric:
    """A figure of merit, an average over examples: its name, which direction is better, and how it is shown."""

    name: str  # accuracy, rmse, mean_iou: it is in columns, budgets and receipts
    higher_is_better: bool = True
    format: str = ".4f"  # as in Python's format(): .2% for a share


@cache
def name() -> str:
    """The name of the project's package. Raises UsageError if nothing names one."""
    if named := os.environ.get("PROJECT", ""):
        where = f"PROJECT={named}"
    else:
        table = tomllib.loads((ROOT / "pyproject.toml").read_text()).get("tool", {}).get("samebench", {})
        named = str(table.get("project", ""))
        where = f'pyproject.toml, [tool.samebench], project = "{named}"'
    if not NAME.fullmatch(named) or not (ROOT / "src" / named / "__init__.py").is_file():
        raise UsageError(f"{where}: src/{named or '…'} is no package; give the name of one in src/")
    return named


def settings_class() -> "type[TrainingSettings]":
    """The dataclass whose fields decide what a training gives."""
    found: type[TrainingSettings] = _module("settings").Settings
    return found


def budgets_class() -> "type[Budgets]":
    """The dataclass of what an artifact must keep."""
    found: type[Budgets] = _module("settings").Budgets
    return found


def task() -> "Task":
    """The training side of the project."""
    found: Task = _module("task").TASK
    return found


def serving() -> "Serving":
    """The server side of the project."""
    found: Serving = _module("serving").SERVING
    return found


def _module(module: str) -> ModuleType:
    found = f"{name()}.{module}"
    try:
        return importlib.import_module(found)
    except ModuleNotFoundError as error:
        if error.name != found:
            raise
        raise UsageError(f"src/{name()}: has no {module}.py, which this command needs; write one") from error
