"""The devcontainer, opened by the real client as VS Code would, for host users of different UIDs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests import node
from tests.commands import open_to_others
from tests.samebench.checkout import ROOT, copy_checkout, run

from .conftest import as_user, give, owners

DOTENV_VALUE = "hush and hush"
EXTENSIONS = ["charliermarsh.ruff", "ms-python.python", "ms-toolsai.jupyter"]  # what the work needs, and no more
TESTS = [f"tests/samebench/test_{name}.py" for name in ("command", "cores", "files", "receipt", "settings")]


def configuration(path: str) -> dict[str, Any]:
    """A devcontainer.json without its comments, which stand on lines of their own."""
    text = re.sub(r"^\s*//.*$", "", (ROOT / ".devcontainer" / path).read_text(), flags=re.MULTILINE)
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_cpu_and_gpu_devcontainer_differ_only_in_image_and_gpu() -> None:
    cpu, gpu = configuration("devcontainer.json"), configuration("gpu/devcontainer.json")
    assert gpu.pop("hostRequirements") == {"gpu": True}
    assert gpu["runArgs"].pop(0) == "--gpus=all"
    assert gpu["remoteEnv"].pop("GPU") == "1", "as `make` has it: CUDA is required, and never the CPU instead"
    assert gpu.pop("initializeCommand") == f"GPU=1 {cpu.pop('initializeCommand')}"
    assert (cpu.pop("image"), gpu.pop("image")) == ("samebench:cpu", "samebench:gpu"), "those of make build"
    assert (cpu.pop("name"), gpu.pop("name")) == ("Samebench (CPU)", "Samebench (GPU)")
    assert cpu == gpu
    assert "features" not in cpu, "nothing is fetched beyond the image"
    assert cpu["customizations"]["vscode"]["extensions"] == EXTENSIONS


@pytest.fixture(scope="session")
def client() -> Path:
    """The pinned client."""
    return node.installed(".bin/devcontainer")


class Devcontainer:
    """A checkout that belongs to the host user `uid`, and the container that the client opens on it."""

    def __init__(self, client: Path, *, uid: int, checkout: Path) -> None:
        self.client, self.uid, self.checkout = client, uid, checkout

    def call(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the client as the host user."""
        where = ["--workspace-folder", str(self.checkout)]
        variables = {"HOME": str(self.checkout.parent / "home")}
        command = [*named(self.checkout.parent), *as_user(self.uid), str(self.client), verb, *where, *words]
        return run(command, cwd=self.checkout, timeout=600, variables=variables)


def named(folder: Path) -> list[str]:
    """What gives the host users of these tests a name, which the client asks for, and leaves the machine as it was."""
    if os.getuid():
        return []
    users = folder / "passwd"
    users.write_text(
        Path("/etc/passwd").read_text() + "teammate:x:1010:1010::/:/bin/sh\nother:x:1000:1000::/:/bin/sh\n"
    )
    return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(users)]


@pytest.fixture(scope="module", params=[1000, 1010])
def devcontainer(
    request: pytest.FixtureRequest,
    client: Path,
    engine: docker.DockerClient,
    image: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Devcontainer]:
    """Opened by the first test, and left open for the next."""
    uid: int = request.param
    tmp_path = tmp_path_factory.mktemp("devcontainer")
    open_to_others(tmp_path)
    checkout = copy_checkout(tmp_path / "work")
    (tmp_path / "home").mkdir()
    for name in (".devcontainer", "benchmarks", "tests"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    (checkout / ".env").write_text(f"WANDB_PROJECT='{DOTENV_VALUE}'\n")
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    if os.getuid() != uid:
        give(tmp_path, uid=uid, gid=uid)
    yield Devcontainer(client, uid=uid, checkout=checkout)
    close(engine, checkout)


def close(engine: docker.DockerClient, checkout: Path) -> None:
    """What the client has no word for; it makes one more image to renumber the user."""
    for container in containers(engine, checkout):
        made = container.attrs["Config"]["Image"]
        container.remove(force=True)
        if made.startswith("vsc-"):
            engine.images.remove(made, force=True)


def containers(engine: docker.DockerClient, checkout: Path) -> list[Any]:
    """Those that the client has opened on the checkout."""
    made: list[Any] = engine.containers.list(all=True, filters={"label": f"devcontainer.local_folder={checkout}"})
    return made


@pytest.mark.soak
def test_teammate_opens_trains_tests_and_owns_the_files(
    devcontainer: Devcontainer, image: str, engine: docker.DockerClient
) -> None:
    up = devcontainer.call("up")
    assert up.returncode == 0, up.stderr[-3000:]
    assert DOTENV_VALUE not in up.stderr + up.stdout, "no value of .env is shown"
    assert layers_of_container(engine, devcontainer.checkout)[: len(layers(engine, image))] == layers(engine, image)
    assert devcontainer.call("exec", "printenv", "WANDB_PROJECT").stdout == f"{DOTENV_VALUE}\n"
    assert (devcontainer.checkout / ".git/hooks/pre-commit").exists()
    assert devcontainer.call("exec", "printenv", "PYTHONPATH").stdout == "/workspace/src\n"
    train = devcontainer.call("exec", "make", "train", "ARGS=--data synthetic --epochs 1")
    assert train.returncode == 0, train.stderr
    assert devcontainer.call("exec", "git", "status", "--short").returncode == 0
    tests = devcontainer.call("exec", "make", "test", f"ARGS={' '.join(TESTS)}")
    assert tests.returncode == 0, tests.stdout[-2000:] + tests.stderr[-2000:]
    assert list((devcontainer.checkout / "runs").rglob("receipt.json"))
    assert owners(devcontainer.checkout) == {(devcontainer.uid, devcontainer.uid)}
    assert same_environment(devcontainer, image)


def same_environment(devcontainer: Devcontainer, image: str) -> bool:
    """Whether wheels, OS packages and the variables of the image are the same as under `make shell`."""
    line = "dpkg-query --show; env | grep -E '^(ATEN|MKL|ONEDNN|CUBLAS|JUPYTER_SERVER|SAMEBENCH|LANG)' | sort; "
    line += (
        "python -c 'from importlib.metadata import distributions as d; print(sorted((x.name, x.version) for x in d()))'"
    )
    done = devcontainer.call("exec", "sh", "-c", line)
    assert done.returncode == 0, done.stderr
    inside = done.stdout
    beside = run(["docker", "run", "--rm", image, "sh", "-c", line], cwd=ROOT).stdout
    assert inside == beside
    return len(inside) > 1000


def layers(engine: docker.DockerClient, image: str) -> list[str]:
    """The digests of an image's layers."""
    made: list[str] = engine.images.get(image).attrs["RootFS"]["Layers"]
    return made


def layers_of_container(engine: docker.DockerClient, checkout: Path) -> list[str]:
    """Those of the image in which the client has opened the checkout."""
    (container,) = containers(engine, checkout)
    return layers(engine, container.attrs["Config"]["Image"])


@pytest.mark.soak
def test_second_opening_starts_nothing_anew(devcontainer: Devcontainer) -> None:
    first, second = (json.loads(devcontainer.call("up").stdout.splitlines()[-1]) for _ in "ab")
    assert first["outcome"] == second["outcome"] == "success"
    assert first["containerId"] == second["containerId"]
