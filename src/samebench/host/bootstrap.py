"""A command with the pinned Python and the pinned uv, and with nothing that the locks install.

What writes the locks must work when the locks are what is broken. uv is the one on PATH if it has the version of
requirements.lock; else it is fetched by its hash into .samebench/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from samebench.host import process
from samebench.host.errors import UsageError


def run(command: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Become the command. Raises UsageError where the locks name no uv."""
    text = Path("requirements.lock").read_text()
    version = _only(r"^uv==(\S*)", text)
    python = _only(r'^requires-python = "==([0-9.]*)\.\*"', Path("pyproject.toml").read_text())
    if not version:
        remedy = "git checkout requirements.lock, then run the same command again"
        raise UsageError(f"requirements.lock: no line uv==VERSION; {remedy}")
    environment = {**variables, "PYTHONPATH": f"{Path.cwd()}/src"}
    if not _is_pinned("uv", version):
        tools = Path.cwd() / f".samebench/uv-{version}-{os.uname().sysname}-{os.uname().machine}"
        if not _is_pinned(str(tools / "uv"), version):
            code = process.run(
                ["sh", "src/samebench/environment/install.sh", "--uv", str(tools)], environment=variables
            )
            if code:
                raise SystemExit(code)
        environment["PATH"] = f"{tools}:{environment.get('PATH', os.defpath)}"
    if not os.access(environment.get("HOME") or "/", os.W_OK):  # a user without a home
        environment["UV_CACHE_DIR"] = f"{Path.cwd()}/.samebench/uv-cache"
    words = ["uv", "run", "--isolated", "--no-project", "--quiet", "--python", python, *command]
    process.exec_program(words, environment)


def _only(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1] if match else ""


def _is_pinned(program: str, version: str) -> bool:
    return process.output_of([program, "--version"]).split()[:2] == ["uv", version]
