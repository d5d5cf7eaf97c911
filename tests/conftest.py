"""Every test process holds the CPU level before torch is loaded, as every door of ours does, and keeps off the GPU.

| tests                                            | the project on the bench                                       |
|--------------------------------------------------|----------------------------------------------------------------|
| `tests/NAME`, with `src/NAME`                    | NAME; without `src/NAME` they are skipped                      |
| `pytestmark = pytest.mark.project("NAME")`       | NAME; the same                                                 |
| `tests/image`, `pytest.mark.project("")`         | that of the checkout: PROJECT=, or pyproject.toml              |
| all others: they are the bench's                 | `tests/projects/tiny`                                          |
"""

import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from samebench import project
from samebench.core.paths import ROOT
from samebench.environment import determinism
from tests import commands
from tests.container import repeated
from tests.slow import is_slow

os.environ.pop("DATA_REMOTE", None)  # the team's, with which no test has to do
# For the tests marked `gpu`, which start processes of their own: here the CPU is tested, GPU or not.
ASKED = {"GPU": os.environ.pop("GPU", None), "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}

PROJECT = os.environ.get("PROJECT")  # of the checkout, for the tests of its images

determinism.pin()
# Under nohup the one is ignored, in a script's background the other, and so they would be by what the tests start.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


class Lanes(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """A file's tests go to one process, and all that drive an engine to one: it has one store and one set of names."""

    def _split_scope(self, nodeid: str) -> str:
        return "tests/image" if nodeid.startswith("tests/image/") else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    """How tests are dealt out to several processes."""
    return Lanes(config, log)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what `.ci/run` repeats in the container, and what `make test` leaves out."""
    if repeated(item.nodeid):
        item.add_marker("container")
    if is_slow(item.nodeid):
        item.add_marker("slow")


# The folders of the bench's own tests.
BENCH = {"browser", "deploy", "families", "node", "notebooks", "projects"}
BENCH |= {"runs", "samebench", "serving", "shipping", "training"}
OF_THE_CHECKOUT = {"image"}
name_in_checkout = project.name


def project_of(folder: str) -> str:
    """The project that is on the bench for the tests in this folder of tests/; empty: that of the checkout."""
    if folder in OF_THE_CHECKOUT:
        return ""
    return "tiny" if folder in BENCH or folder.endswith(".py") else folder


def require_project(name: str) -> None:
    """Skip if the project is not there, all in one line of the summary."""
    if name and name != "tiny" and not (ROOT / "src" / name).is_dir():
        pytest.skip(f"src/{name} is not there", allow_module_level=True)


class ProjectModule(pytest.Module):
    """A module of tests, which is not imported if its project is not there."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """See pytest."""
        require_project(project_of(self.path.relative_to(ROOT / "tests").parts[0]))
        return super().collect()


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    """How a module of tests is collected."""
    module: pytest.Module = ProjectModule.from_parent(parent, path=module_path)
    return module


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Put the project on the bench, before any fixture."""
    marker = item.get_closest_marker("project")
    name = str(marker.args[0]) if marker else project_of(item.path.relative_to(ROOT / "tests").parts[0])
    require_project(name)
    vars(project)["name"] = (lambda: name) if name else name_in_checkout
    if name or not PROJECT:
        os.environ.pop("PROJECT", None)  # printed commands would have it
    else:
        os.environ["PROJECT"] = PROJECT


@pytest.fixture
def gpu() -> dict[str, str | None]:
    """The variables by which a process of ours takes the GPU; skips unless GPU= asks for one, then required."""
    if ASKED["GPU"] in {None, "", "0"}:
        pytest.skip("needs a GPU: make test GPU=1")
    return ASKED


@pytest.fixture(scope="session", autouse=True)
def checkout_with_tiny() -> Iterator[None]:
    """Remove the checkout in which processes of the tiny project have run."""
    yield
    commands.remove_checkout_with_tiny()
