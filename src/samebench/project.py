"""The seam between the bench and a project: which project is on the bench, and where its parts are.

A project is a package below `src`. `[tool.samebench] project` in `pyproject.toml` names it; PROJECT= names a different
one for a single call. The bench imports these modules of it, each only when a command needs it:

| module         | has                      | needs                |
|----------------|--------------------------|----------------------|
| `settings.py`  | `Settings`, `Budgets`    | the standard library |
| `task.py`      | `TASK`                   | torch                |
| `serving.py`   | `SERVING`                | the server's lock    |
| `sources.py`   | `UPSTREAM`               | the standard library |

`sources.py` is optional: it says how published data sets are fetched from where they were published.
"""

import importlib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from samebench.core.command import UsageError
from samebench.core.paths import ROOT

if TYPE_CHECKING:
    from samebench.serving.serving import Serving
    from samebench.settings import Budgets, TrainingSettings
    from samebench.training.task import Task

NAME = re.compile(r"(?!samebench$)[a-z][a-z0-9_]*")

# Fetches these files (SHA-256 by name), which are not there, into a folder; or raises UsageError or RequirementError.
UpstreamFetcher = Callable[[Path, Mapping[str, str]], None]


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
        raise UsageError(f"{where}: src/{named or '…'} is no project; give the name of a package in src/")
    return named


def others() -> list[str]:
    """The names of the other projects in src/."""
    return sorted(
        path.parent.name
        for path in (ROOT / "src").glob("*/settings.py")
        if path.parent.name not in {name(), "samebench"}
    )


def datasets_of_others() -> set[str]:
    """The data sets that only other projects train on by default: no command fetches or looks at them unasked."""
    return {settings_class(each).data for each in others()} - {settings_class().data}


def settings_class(package: str = "") -> "type[TrainingSettings]":
    """The dataclass whose fields decide what a training gives; of a different project, if its name is given."""
    settings: type[TrainingSettings] = _module("settings", package).Settings
    return settings


def budgets_class() -> "type[Budgets]":
    """The dataclass of what an artifact must keep."""
    limits: type[Budgets] = _module("settings").Budgets
    return limits


def task() -> "Task":
    """The training side of the project."""
    instance: Task = _module("task").TASK
    return instance


def serving() -> "Serving":
    """The server side of the project."""
    instance: Serving = _module("serving").SERVING
    return instance


def upstream_fetchers() -> Mapping[str, UpstreamFetcher]:
    """What fetches a published data set, by the set's name; empty in a project without a `sources.py`."""
    if not (ROOT / "src" / name() / "sources.py").is_file():
        return {}
    fetchers: Mapping[str, UpstreamFetcher] = _module("sources").UPSTREAM
    return fetchers


def reserved_dataset_names() -> set[str]:
    """The names of data sets that a project makes or publishes: none is imported under them."""
    return {*settings_class().generated_data, *upstream_fetchers(), *datasets_of_others()}


def _module(module: str, package: str = "") -> ModuleType:
    package = package or name()
    full_name = f"{package}.{module}"
    try:
        return importlib.import_module(full_name)
    except ModuleNotFoundError as error:
        if error.name != full_name:
            raise
        raise UsageError(f"src/{package}: has no {module}.py, which this command needs; write one") from error
