"""Paths that a call names, and folders that it must be able to write."""

from __future__ import annotations

import os
from pathlib import Path

from samebench.host.errors import RequirementError, UsageError


def bind(source: str | Path, target: str | Path, rights: str = "") -> str:
    """A folder or file of the host's, as --mount takes it: fields of CSV, as a path may have a comma or a quote."""
    fields = [f"source={source}".replace('"', '""'), f"target={target}".replace('"', '""')]
    return f'type=bind,"{fields[0]}","{fields[1]}"{rights and f",{rights}"}'


def make_writable(*folders: str) -> None:
    """Make these folders of the checkout where they are missing. Raises RequirementError where one can't be written."""
    here = Path.cwd()
    for folder in folders:
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            remedy = "make the checkout yours (chown), then run the same command again"
            raise RequirementError(f"{here / folder}: can't be made here; {remedy}") from error
        if not os.access(folder, os.W_OK):
            remedy = "make it yours (chown), then run the same command again"
            raise RequirementError(f"{here / folder}: not writable; {remedy}")


def resolve(path: str) -> str:
    """The path without links in its folders. Raises UsageError where nothing is there."""
    if not os.path.exists(path):
        raise UsageError(f"{path}: no such file or directory")
    if os.path.isdir(path):
        return str(Path(path).resolve())
    return str(Path(path).parent.resolve() / Path(path).name)


def is_inside(path: str) -> bool:
    """Whether a resolved path is in the checkout."""
    here = Path.cwd()
    return here == Path(path) or here in Path(path).parents


def refuse_outside(name: str, path: str) -> None:
    """Raise UsageError for a relative path that leads out of the checkout."""
    if not is_inside(resolve(path)):
        what = f"{name}={path}: out of the checkout, which is all that the container sees"
        raise UsageError(f"{what}; give it absolute: {name}={resolve(path)}")
