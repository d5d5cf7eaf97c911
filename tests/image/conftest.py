"""A real engine, driven through its SDK, and the image that `make build` makes with it."""

import gc
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from tests.commands import lacking, open_to_others
from tests.samebench.checkout import ROOT, copy_checkout, run


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """A client of the engine; skips where none answers."""
    with warnings.catch_warnings():
        # Where no engine answers, the SDK leaves its socket to the collector: collect it here.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env()
            client.ping()
            reason = ""
        except DockerException as error:
            reason = f"no Docker engine answers here ({str(error).split('(')[0].strip()})"
        gc.collect()
    if reason:
        lacking(reason)
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(engine: docker.DockerClient) -> str:
    """The CPU image of this checkout, built if it is not there."""
    done = run(["make", "build", "RUNTIME=docker"], cwd=ROOT, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split()[1]


# Host users: root, the image's own, others, nobody; 100 and 20 are the GIDs of users and dialout in the image.
users = pytest.mark.parametrize(
    ("uid", "gid"),
    [
        (0, 0),
        (1001, 100),
        pytest.param(1000, 1000, marks=pytest.mark.soak),
        pytest.param(1010, 20, marks=pytest.mark.soak),
        pytest.param(65534, 65534, marks=pytest.mark.soak),
    ],
)

# Runs a shell line in the image, without a mount; its output.
InImage = Callable[..., str]


@pytest.fixture
def in_image(engine: docker.DockerClient, image: str) -> InImage:
    """Runs a shell line in the image as the user given."""

    def inside(line: str, *, user: str | None = None) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the SDK leaves its stream to the collector
            output: bytes = engine.containers.run(image, ["sh", "-c", line], user=user, remove=True)
        return output.decode().strip()

    return inside


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of this checkout in a folder with spaces, that any user may enter."""
    return copy_for_all(tmp_path)


def copy_for_all(folder: Path) -> Path:
    """A copy of this checkout in a folder with spaces inside `folder`, that any user may enter."""
    open_to_others(folder)
    return copy_checkout(folder / "my work")


def as_user(uid: int, gid: int | None = None) -> list[str]:
    """What makes a command run as `uid`, a user who may talk to the engine and has no sudo."""
    if os.getuid() == uid:
        return []
    if os.getuid() or not shutil.which("setpriv"):
        pytest.skip(f"only root can become user {uid}")
    engine = Path("/var/run/docker.sock").stat().st_gid
    return ["setpriv", f"--reuid={uid}", f"--regid={uid if gid is None else gid}", f"--groups={engine}"]


def give(checkout: Path, *, uid: int, gid: int) -> None:
    """Makes everything in there the user's."""
    for path in [checkout, *checkout.rglob("*")]:
        os.chown(path, uid, gid, follow_symlinks=False)


def owners(checkout: Path) -> set[tuple[int, int]]:
    """Who owns what is in there: UIDs and GIDs."""
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in [checkout, *checkout.rglob("*")]}
