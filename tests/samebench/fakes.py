"""A checkout whose set-up installs nothing, and programs that stand for those of a machine."""

import sys
from pathlib import Path

import pytest

from .checkout import copy_checkout

SCRIPT = [sys.executable, "-I", "src/samebench/host"]

# Stands for install.sh: notes that it was called, and makes what the runtime needs of a virtual environment.
FAKE_INSTALL = """
echo "$@" >>installed
mkdir -p "$2/bin"
[ ! -e die ] || exit 3
"""

ENGINE = 'case $1 in info) echo 26.1.5 ;; run) printf "%s\\n" "$@" ;; esac'  # says what it was asked to run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with spaces, whose install.sh installs nothing."""
    path = copy_checkout(tmp_path / "my work, here")
    (path / "src/samebench/environment/install.sh").write_text(FAKE_INSTALL)
    return path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for fakes that come first on the path."""
    path = tmp_path / "bin"
    path.mkdir()
    return path


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake_engines(programs: Path, *, docker: str, podman: str = "exit 1") -> None:
    write_program(programs / "docker", docker)
    write_program(programs / "podman", podman)


# Says what it was asked to run, and in the server's name where it is.
SERVER = """
case $1 in
info) echo 26.1.5 ;;
run) printf '%s\\n' "$@" >asked; echo name ;;
logs) echo 'JupyterLab: http://127.0.0.1:9000/lab?token=x   (Ctrl-C ends it)' ;;
inspect) echo 0 ;;
esac
"""


def installs(checkout: Path) -> int:
    return len((checkout / "installed").read_text().splitlines())
