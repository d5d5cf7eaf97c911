"""Which project is on the bench; samebench/project.py says the same to what runs in the environment."""

from __future__ import annotations

import re
from pathlib import Path

from samebench.host import toml
from samebench.host.call import Call
from samebench.host.errors import UsageError

TABLE = "tool.samebench"
NAME = re.compile(r"(?!samebench$)[a-z][a-z0-9_]*")


def name(call: Call) -> str:
    """The name of the project's package: PROJECT=, or pyproject.toml. Raises UsageError if it names none."""
    where, value = f"PROJECT={call.get('PROJECT')}", call.get("PROJECT")
    if not value:
        value = str(toml.read(Path("pyproject.toml"), TABLE).get("project", ""))
        where = f'pyproject.toml, [{TABLE}], project = "{value}"'
    if not NAME.fullmatch(value) or not Path("src", value, "__init__.py").is_file():
        raise UsageError(f"{where}: src/{value or '…'} is no project; give the name of a package in src/")
    return value
