"""The servers of `make notebook` and `make tensorboard`, as make starts them in a checkout."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from . import server
from .checkout import copy_checkout
from .server import Server

both = pytest.mark.parametrize("module", ["notebook", "tensorboard"])


def started(module: str, at: Path, **variables: str) -> AbstractContextManager[Server]:
    """The server of `module`, as make starts it in the checkout `at`."""
    return server.started(
        sys.executable, "-m", f"samebench.workspace.{module}", at=at, PYTHONPATH=f"{at}/src", **variables
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("notebook") / "my work")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """An empty folder for temporary files, with a path that a server takes; pytest's own are too long."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Path(folder)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
