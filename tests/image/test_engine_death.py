"""An engine that dies while a command runs in it: an engine of our own, killed for real."""

import os
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.samebench.checkout import copy_checkout, run
from tests.samebench.fakes import SCRIPT


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder for the engine's state; its path is short, as a socket's must be."""
    if os.getuid() or not shutil.which("dockerd"):
        pytest.skip("starting an engine takes root and dockerd")
    path = Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    yield path
    subprocess.run(["pkill", "--signal", "KILL", "--full", str(path)], check=False)  # its containerd and container
    for mount in re.findall(rf"{path}\S*", Path("/proc/mounts").read_text()):
        subprocess.run(["umount", "--lazy", mount], check=False)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def engine(state: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The engine, answering at `state`/docker.sock."""
    (state / "daemon.json").write_text("{}")  # not the machine's, which may ask for other things
    options = [
        f"--config-file={state}/daemon.json",
        f"--data-root={state}/data",
        f"--exec-root={state}/exec",
        f"--pidfile={state}/pid",
    ]
    options += [f"--host=unix://{state}/docker.sock", "--bridge=none", "--iptables=false", "--ip6tables=false"]
    # In a network of its own: without a bridge it would take down the one of the machine's engine.
    alone = ["unshare", "--net", "dockerd", *options]
    with (state / "log").open("wb") as log, subprocess.Popen(alone, stdout=log, stderr=log) as process:
        for _ in range(120):
            if docker(state, "info").returncode == 0:
                break
            time.sleep(0.5)
        yield process
        process.kill()


def docker(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(["docker", *words], cwd=state, variables={"DOCKER_HOST": f"unix://{state}/docker.sock"})


def load_shell(state: Path, image: str) -> None:
    """Gives the engine an image that holds nothing but a shell and `sleep`."""
    archive = state / "shell.tar"
    programs = [path for name in ("sh", "sleep") if (path := shutil.which(name))]
    libraries = re.findall(r"/lib\S+", subprocess.check_output(["ldd", *programs], text=True))
    with tarfile.open(archive, "w") as tar:
        for needed in {*programs, *(path.rstrip(":") for path in libraries)}:
            tar.add(Path(needed).resolve(), needed)
    assert docker(state, "import", str(archive), image).returncode == 0


def test_engine_that_dies_in_the_middle_gets_a_last_line_and_code_3(
    engine: subprocess.Popen[bytes], state: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    load_shell(state, run([*SCRIPT, "--name"], cwd=checkout).stdout.strip())
    environment = {k: v for k, v in os.environ.items() if k != "SAMEBENCH"}
    environment |= {"RUNTIME": "docker", "DOCKER_HOST": f"unix://{state}/docker.sock"}
    command = subprocess.Popen(
        [*SCRIPT, "sh", "-c", "echo started; sleep 100"],
        cwd=checkout,
        env=environment,
        stdout=-1,
        stderr=-1,
        text=True,
    )
    assert command.stdout
    assert command.stdout.readline() == "started\n"
    engine.send_signal(signal.SIGKILL)
    _, said = command.communicate(timeout=60)
    assert command.returncode == 3
    assert said.splitlines()[-1].startswith("samebench: docker did not start the container, or died while it ran")
