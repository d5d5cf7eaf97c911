"""Every test process holds the CPU level before torch is loaded, as every door of ours does, and keeps off the GPU."""

import os
import signal
from collections.abc import Iterator

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from samebench import project
from samebench.core.paths import ROOT
from samebench.environment import determinism
from tests.container import repeated

os.environ.pop("DATA_REMOTE", None)  # the team's, with which no test has to do
os.environ.pop("PROJECT", None)  # a folder of tests decides: see on_the_bench
# For the tests marked `gpu`, which start processes of their own: here the CPU is tested, GPU or not.
ASKED = {"GPU": os.environ.pop("GPU", None), "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES")}

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
    """Mark what `.ci/run` repeats in the container."""
    if repeated(item.nodeid):
        item.add_marker("container")


@pytest.fixture(scope="module", autouse=True)
def on_the_bench(request: pytest.FixtureRequest) -> Iterator[None]:
    """Put the project `src/NAME` on the bench for the tests in `tests/NAME`."""
    with pytest.MonkeyPatch.context() as patch:
        name = request.path.parent.name
        if (ROOT / "src" / name / "settings.py").is_file() and name != "samebench":
            patch.setattr(project, "name", lambda: name)
        yield


@pytest.fixture
def gpu() -> dict[str, str | None]:
    """The variables by which a process of ours takes the GPU; skips unless GPU= asks for one, then required."""
    if ASKED["GPU"] in {None, "", "0"}:
        pytest.skip("needs a GPU: make test GPU=1")
    return ASKED
