"""`make serve` where there is an engine: the image that partners get, what may be done in it, and how it ends."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import numpy as np
import pytest
from docker.models.containers import Container
from numpy.typing import NDArray

from samebench import project
from tests import soak
from tests.commands import lacking
from tests.samebench import checkout as checkouts
from tests.samebench.fakes import SCRIPT
from tests.samebench.server import started
from tests.serving.conftest import PNG, Server, artifact, encoded, folder, images, run

from .conftest import as_user, copy_for_all, give

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

# A base for both platforms, of two that are for one each.
BOTH = """
ARG BASE_IMAGE
FROM --platform=linux/amd64 ${BASE_IMAGE} AS amd64
FROM --platform=linux/arm64 ${BASE_IMAGE}-arm64 AS arm64
ARG TARGETARCH
FROM $TARGETARCH
"""
HARDENED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


@dataclass
class Served:
    """A server that make started, its container and its image."""

    server: Server
    container: Container
    image: str
    said: str


@pytest.fixture(scope="module")
def checkout(folder: Path, image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of an ordinary user with one run in it."""
    made = copy_for_all(tmp_path_factory.mktemp("serve"))
    shutil.copytree(folder.parent, made / "runs" / folder.parent.name)
    give(made, uid=1234, gid=1234)
    return made


@pytest.fixture(scope="module")
def served(checkout: Path, engine: docker.DockerClient) -> Iterator[Served]:
    with started(
        *as_user(1234), "make", "serve", "DATA=synthetic", "RUNTIME=docker", at=checkout, HOME="/nonexistent"
    ) as server:
        (name,) = docker_says("ps", "--filter", f"publish={server.port}", "--format", "{{.ID}} {{.Image}}")
        container, tag = name.split()
        running = engine.containers.get(container)
        yield Served(Server(server.port), running, tag, server.said)


def docker_says(*words: str) -> list[str]:
    """The lines of docker's answer."""
    return checkouts.run(["docker", *words], cwd=checkouts.ROOT).stdout.splitlines()


def inside(container: Container, line: str) -> str:
    """What a shell says in the container."""
    _, output = container.exec_run(["sh", "-c", line])
    assert isinstance(output, bytes)
    return output.decode()


def test_make_serve_answers_from_the_image_on_loopback_alone(
    served: Served, images: NDArray[np.uint8], artifact: object
) -> None:
    assert served.server.predict(encoded(images[0])).status == 200
    health = served.server.ask("GET", "/health").json()
    assert (health["status"], health["image"]) == ("ready", served.container.attrs["Image"])
    (binding,) = served.container.attrs["HostConfig"]["PortBindings"]["8000/tcp"]
    assert binding["HostIp"] == "127.0.0.1"
    assert "artifact: there already" in served.said


def test_it_has_no_power_and_can_write_nothing(served: Served) -> None:
    powers = inside(
        served.container, "cat /proc/1/status /proc/[0-9]*/status | grep -E '^(CapEff|NoNewPrivs|Uid)'"
    ).split("\n")
    assert {line for line in powers if line.startswith("CapEff")} == {"CapEff:\t0000000000000000"}
    assert {line for line in powers if line.startswith("NoNewPrivs")} == {"NoNewPrivs:\t1"}
    assert not [line for line in powers if line.startswith("Uid:\t0\t")]
    own = r"\( -path '/proc/[0-9]*' -o -path /proc/pressure \) -prune"
    assert inside(served.container, f"find / {own} -o ! -type d -perm /6000 -print 2>/dev/null") == ""
    found = inside(served.container, f"find / {own} -o ! -type l ! -xtype c -writable -print 2>/dev/null").split()
    assert set(found) <= {"/dev/shm", "/dev/mqueue"}  # noqa: S108 - Docker brings them along


def test_nothing_of_the_workspace_is_in_it(served: Served) -> None:
    package = inside(served.container, f"ls /srv/src/{project.name()}").split()
    assert [name.removesuffix(".py") for name in package] == ["__init__", "serving"]
    assert "receipt.py" not in inside(served.container, "ls /srv/src/samebench").split()
    wheels = inside(served.container, "ls /opt/venv/lib/python3*/site-packages").split()
    assert "starlette" in wheels
    assert not {"torch", "pip", "jupyterlab", "uv", "onnx"} & set(wheels)
    assert inside(served.container, "which gcc git curl pip uv") == ""


def test_its_fingerprint_comes_out_again_to_the_byte(served: Served) -> None:
    line = "python -m samebench.environment.fingerprint --same | cmp - /opt/venv/fingerprint.json && echo the same"
    assert inside(served.container, line) == "the same\n"


def test_it_is_small(served: Served) -> None:
    megabytes = int(inside(served.container, "du -sx --apparent-size --block-size=1000000 / 2>/dev/null").split()[0])
    assert megabytes <= 300
    assert "building" not in served.said or f"{served.image}: {megabytes} MB unpacked" in served.said


def test_docker_calls_it_healthy(served: Served) -> None:
    deadline = time.monotonic() + 60
    while served.container.attrs["State"]["Health"]["Status"] != "healthy" and time.monotonic() < deadline:
        time.sleep(0.5)
        served.container.reload()
    assert served.container.attrs["State"]["Health"]["Status"] == "healthy"


def test_the_image_is_named_by_what_it_is_made_of(served: Served, checkout: Path) -> None:
    with started(
        *as_user(1234), "make", "serve", "DATA=synthetic", "RUNTIME=docker", at=checkout, HOME="/nonexistent"
    ) as again:
        assert "building" not in again.said
        assert again.port != served.server.port


@pytest.mark.parametrize("user", ["0:0", "65532:65532", "54321:12345"])
def test_any_user_may_be_it_and_without_a_key_it_does_not_start(
    served: Served, engine: docker.DockerClient, user: str, images: NDArray[np.uint8]
) -> None:
    words = ["docker", "run", "--rm", "--user", user, *HARDENED, "--publish", "127.0.0.1::8000"]
    refused = checkouts.run([*words, served.image], cwd=checkouts.ROOT)
    assert (refused.returncode, "others could ask without a key" in refused.stderr) == (2, True)
    detached = checkouts.run([*words, "--detach", "--env", "API_KEY=sesame", served.image], cwd=checkouts.ROOT)
    container = engine.containers.get(detached.stdout.strip())
    server = Server(int(container.attrs["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"]))
    try:
        assert until_ready(server)
        assert server.predict(encoded(images[0])).status == 401
        assert server.predict(encoded(images[0]), PNG | {"authorization": "Bearer sesame"}).status == 200
        waiting = subprocess.Popen(["docker", "wait", container.id or ""], stdout=subprocess.PIPE, text=True)
        checkouts.run(["docker", "stop", "--time", "30", container.id or ""], cwd=checkouts.ROOT)
        assert waiting.communicate(timeout=40)[0] == "0\n"
    finally:
        checkouts.run(["docker", "rm", "--force", container.id or ""], cwd=checkouts.ROOT)


def until_ready(server: Server) -> bool:
    """Whether it becomes ready within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return server.ask("GET", "/health").status == 200
        except OSError:
            time.sleep(0.1)
    return False


def test_of_a_damaged_artifact_there_is_no_image(checkout: Path, served: Served, tmp_path: Path) -> None:
    damaged = tmp_path / "artifact"
    shutil.copytree(next(checkout.glob("runs/*/artifact")), damaged)
    with (damaged / "model.onnx").open("r+b") as file:
        file.write(b"?")
    # The command "makes" the damaged one, as `make serve` has the export do.
    words = [*SCRIPT, "--serve-image", "8000"]
    done = checkouts.run(
        [*words, "echo", f"{damaged}: exported"], cwd=checkout, timeout=600, variables={"RUNTIME": "docker"}
    )
    assert done.returncode == 3
    assert "damaged, expected sha256" in done.stderr
    assert "the serve image could not be built" in done.stderr.splitlines()[-1]


def base_for_both() -> str:
    """The base image: the pinned one, or of a stand-in BASE_IMAGE and its sister BASE_IMAGE-arm64 one for both."""
    if not (base := os.environ.get("BASE_IMAGE", "")):
        return ""
    if not docker_says("image", "inspect", "--format", "{{.Id}}", f"{base}-arm64"):
        pytest.skip(f"{base} is for this platform alone, and there is no {base}-arm64 beside it")
    words = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--platform", "linux/amd64,linux/arm64"]
    words += ["--build-arg", f"BASE_IMAGE={base}", "--tag", f"{base}-both", "-"]
    assert subprocess.run(words, input=BOTH, text=True, capture_output=True).returncode == 0
    return f"{base}-both"


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_image_for_arm64_answers_as_this_machine_does(
    checkout: Path, served: Served, images: NDArray[np.uint8]
) -> None:
    # QEMU 7.2 dies of onnxruntime's import; 10.0 does not. It is registered with flag F, to be found in containers.
    if "linux/arm64" not in checkouts.run(["docker", "buildx", "ls"], cwd=checkouts.ROOT).stdout:
        pytest.skip("the engine cannot run arm64 here: register qemu-aarch64 10.0 or later with binfmt_misc")
    variables = {"BASE_IMAGE": base_for_both(), "PLATFORM": "linux/arm64", "HOME": "/nonexistent"}
    begun = time.monotonic()
    with started(*as_user(1234), "make", "serve", "DATA=synthetic", "RUNTIME=docker", at=checkout, **variables) as arm:
        built = time.monotonic() - begun
        (name,) = docker_says("ps", "--filter", f"publish={arm.port}", "--format", "{{.ID}} {{.Image}}")
        container, image = name.split()
        assert image.endswith("-arm64")
        assert docker_says("exec", container, "uname", "-m") == ["aarch64"]
        pairs = [
            (Server(arm.port).predict(file).json(), served.server.predict(file).json())
            for file in map(encoded, images[:50])
        ]
    assert [theirs["category"] for theirs, _ in pairs] == [ours["category"] for _, ours in pairs]
    apart = max(abs(theirs["confidence"] - ours["confidence"]) for theirs, ours in pairs)
    assert apart <= 1e-4
    told = f"{len(pairs)} of {len(pairs)} labels equal, confidences within {apart:.0e}, emulated, of cached layers, up"
    soak.record("the_image_for_arm64_answers_as_this_machine_does", f"{told} in {built:.0f} s")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_podman_serves_it_too_and_leaves_nothing(checkout: Path, images: NDArray[np.uint8]) -> None:
    if not shutil.which("podman") or checkouts.run(["podman", "info"], cwd=checkouts.ROOT).returncode:
        lacking("no podman answers here")
    listed = ["podman", "ps", "--all", "--format", "{{.Ports}}"]
    with started("make", "serve", "DATA=synthetic", "RUNTIME=podman", at=checkout) as server:
        assert Server(server.port).predict(encoded(images[0])).status == 200
        assert f"127.0.0.1:{server.port}->" in checkouts.run(listed, cwd=checkouts.ROOT).stdout
    assert f":{server.port}->" not in checkouts.run(listed, cwd=checkouts.ROOT).stdout
