"""What a team adds to the containers of its workspace, and each user for themselves.

    [tool.samebench.container]          in pyproject.toml, for the team
    env = ["WANDB_API_KEY"]             variables of the host's that go along, by their names
    mounts = ["/mnt/photos:/photos:ro"] folders of the host's: which, where it is seen, and ro where it is only read
    shm_size = "8g"                     shared memory, for loaders with many processes
    extra_args = ["--ulimit", "memlock=-1"]   other words for `docker run` or `podman run`

The same lines in .samebench/local.toml, below [container], are one user's. Lists add up; the user's size counts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from samebench.host import dotenv, toml
from samebench.host.errors import UsageError
from samebench.host.files import bind

FILES = {Path("pyproject.toml"): "tool.samebench.container", Path(".samebench/local.toml"): "container"}
LISTS = ("env", "mounts", "extra_args")
SHM_SIZE = "1g"
SIZE = re.compile(r"[1-9][0-9]*[bkmg]?")
OWN_FOLDERS = ("/", "/tmp", "/workspace", "/opt/venv")  # of the container


class Options(NamedTuple):
    """The options of both files."""

    env: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()  # as an engine's --mount takes them
    shm_size: str = SHM_SIZE
    extra_args: tuple[str, ...] = ()


def read() -> Options:
    """What both files say. Raises UsageError for what is no option, or can't be."""
    lists: dict[str, list[str]] = {name: [] for name in LISTS}
    shm_size = SHM_SIZE
    for file, table in FILES.items():
        for name, value in toml.read(file, table).items():
            where = f"{file}, [{table}]: {name}"
            if name in LISTS and isinstance(value, list):
                lists[name] += [_check_value(name, each, where) for each in value]
            elif name == "shm_size" and isinstance(value, str) and SIZE.fullmatch(value):
                shm_size = value
            elif name in LISTS:
                raise UsageError(f'{where}: {value} is no list; give {name} = ["…"]')
            elif name == "shm_size":
                raise UsageError(f'{where}: {value} is no size; give one such as shm_size = "8g"')
            else:
                raise UsageError(f"{where}: no such option; give {', '.join(LISTS)} or shm_size")
    return Options(tuple(lists["env"]), tuple(lists["mounts"]), shm_size, tuple(lists["extra_args"]))


def _check_value(name: str, value: str, where: str) -> str:
    if name == "env":
        if not dotenv.NAME.fullmatch(value):
            raise UsageError(f"{where}: {value} is no variable's name; give capital letters, digits and _")
        if dotenv.is_reserved(value):
            raise UsageError(f"{where}: {value} decides what is done or what comes out; give it to make, or export it")
    return _mount(value, where) if name == "mounts" else value


def _mount(text: str, where: str) -> str:
    source, _, rest = text.partition(":")
    target, _, rights = rest.partition(":")
    if not source or not target.startswith("/") or rights not in {"", "ro", "rw"}:
        raise UsageError(f"{where}: {text} is no mount; give /from:/to, or /from:/to:ro")
    if target.rstrip("/") in {folder.rstrip("/") for folder in OWN_FOLDERS}:
        raise UsageError(f"{where}: {text}: {target} is the container's own; give another folder, such as /mnt/data")
    path = Path(source).expanduser()
    if not os.path.exists(path):
        raise UsageError(f"{where}: {source} is not there; make it, or take the mount out")
    return bind(path.resolve(), target, "readonly" if rights == "ro" else "")
