"""`pip` in the workspace, as people call it: it installs nothing, and says what does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from .commands import SOURCE, environment

WAYS = {
    "python -m pip": [sys.executable, "-m", "pip"],
    "pip": [str(Path(sys.executable).with_name("pip"))],
    "pip3": [str(Path(sys.executable).with_name("pip3"))],
}


def call(way: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*WAYS[way], *words], capture_output=True, text=True, env=environment(), cwd=SOURCE.parent)


@pytest.mark.parametrize("way", WAYS)
def test_pip_install_installs_nothing_and_says_what_does(way: str) -> None:
    done = call(way, "install", "--upgrade", "-i", "http://127.0.0.1:9", "six>=1", "shared[more]")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "make add PKG='six>=1 shared[more]'" in line
    assert "make try PKG='six>=1 shared[more]'" in line


@pytest.mark.parametrize("words", [["uninstall", "-y", "numpy"], ["--version"], [], ["download", "six"], ["nosuch"]])
def test_all_else_of_pip_is_one_line(words: list[str]) -> None:
    done = call("python -m pip", *words)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "make " in done.stderr


def test_pip_shows_what_is_installed() -> None:
    assert "numpy==" in call("pip", "freeze").stdout
    assert "numpy" in call("pip", "list", "--format", "json").stdout
    assert "Name: numpy" in call("pip", "show", "numpy").stdout


def test_pip_in_a_notebook_says_the_same() -> None:
    manager, client = start_new_kernel(env=dict(os.environ) | {"PYTHONPATH": str(SOURCE)})
    lines: list[str] = []
    for code in ("%pip install six", "!pip install six"):
        client.execute_interactive(code, timeout=60, output_hook=lambda message: lines.append(str(message["content"])))
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert sum("make add PKG=six" in line for line in lines) == 2
