"""`make notebook` and `make tensorboard` in the container: what they may do, how they are, how they end."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from samebench.core import local_server as services
from tests import soak
from tests.samebench.checkout import run
from tests.samebench.server import Server, started
from tests.waiting import wait_until

from .conftest import as_user, copy_for_all, give, owners, users

# What must be writable: the checkout, what goes with the container, and the memory that processes share (Docker brings
# /dev/mqueue along with it).
WRITABLE = ("/workspace", "/tmp", "/dev/shm", "/dev/mqueue")  # noqa: S108 - inside the container

# Runs a line in the kernel that was started last, as a notebook's cell would.
CELL = """
import sys
from pathlib import Path
from jupyter_client.blocking.client import BlockingKernelClient
client = BlockingKernelClient(connection_file=str(next(Path("/tmp").glob("jupyter-*/kernel-*.json"))))
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
assert client.execute(sys.argv[1], reply=True, timeout=60)["content"]["status"] == "ok"
"""


@dataclass
class Service:
    """A server that was started by make, and its container."""

    server: Server
    container: Container
    checkout: Path

    def inside(self, *words: str) -> str:
        """Runs a command in the container as the container's user; what it said."""
        code, output = self.container.exec_run(list(words))
        assert isinstance(output, bytes), "nothing else without a stream"
        said = output.decode()
        assert code == 0, said
        return said

    def found(self, condition: str) -> list[str]:
        """What `find` finds in the whole container, where its user may look.

        Not in /proc/<pid>, which is each process's own, nor in /proc/pressure, where a write asks the kernel to tell.
        """
        own = r"\( -path '/proc/[0-9]*' -o -path /proc/pressure \) -prune"
        return self.inside("sh", "-c", f"find / {own} -o {condition} -print 2>/dev/null; :").splitlines()

    def run_cell(self, line: str) -> None:
        """Runs a line of Python in a new kernel."""
        self.server.exchange("POST", "/api/kernels", {"name": "python3"})
        self.inside("python", "-c", CELL, line)

    def health(self) -> str:
        """What docker thinks of it."""
        self.container.reload()
        status: str = self.container.attrs["State"]["Health"]["Status"]
        return status


@contextmanager
def serving(target: str, checkout: Path, *, uid: int, gid: int, **variables: str) -> Iterator[Service]:
    """The service of a make target, started by a host user on a checkout of theirs."""
    give(checkout, uid=uid, gid=gid)
    command = [*as_user(uid, gid), "make", target, "RUNTIME=docker"]
    client = docker.from_env()

    def containers() -> list[Container]:
        return [one for one in client.containers.list(all=True) if str(checkout) in json.dumps(one.attrs["Mounts"])]

    with started(*command, at=checkout, HOME="/nonexistent", **variables) as server:
        (container,) = containers()
        yield Service(server, container, checkout)
    assert containers() == []
    client.close()


def running(container: Container) -> bool:
    """Whether it still runs; one that was removed doesn't."""
    try:
        container.reload()
    except NotFound:
        return False
    return bool(container.status == "running")


@pytest.fixture(scope="module", params=["notebook", "tensorboard"])
def service(request: pytest.FixtureRequest, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    uid = os.getuid() or 1000  # a root without capabilities may still write what root owns, such as /dev
    checkout = copy_for_all(tmp_path_factory.mktemp("service"))
    with serving(request.param, checkout, uid=uid, gid=os.getgid() or 1000) as running:
        yield running


@pytest.fixture
def notebook(image: str, checkout: Path) -> Iterator[Service]:
    """One to be stopped or broken."""
    with serving("notebook", checkout, uid=os.getuid(), gid=os.getgid()) as running:
        yield running


@pytest.fixture(params=["notebook", "tensorboard"])
def either(request: pytest.FixtureRequest, image: str, checkout: Path) -> Iterator[Service]:
    """Each of the two, to be stopped or broken."""
    with serving(request.param, checkout, uid=os.getuid(), gid=os.getgid()) as running:
        yield running


def test_no_process_of_a_service_has_or_can_get_a_power(service: Service) -> None:
    powers = service.inside("sh", "-c", "cat /proc/[0-9]*/status | grep -E '^(Cap|NoNewPrivs)'").split()
    assert len(powers) > 20, "several processes, six lines each"
    assert set(powers[1::2]) == {"0" * 16, "1"}
    assert {powers[at + 1] for at, word in enumerate(powers) if word == "NoNewPrivs:"} == {"1"}
    assert service.found("! -type d -perm /6000") == []


def test_a_service_can_write_nothing_but_what_it_must(service: Service) -> None:
    # Devices such as /dev/null keep nothing.
    found = service.found("! -type l ! -xtype c -writable")
    assert set(found) >= set(WRITABLE)
    assert [path for path in found if not re.match(rf"({'|'.join(WRITABLE)})(/|$)", path)] == []


def test_a_service_is_bounded_and_its_children_are_reaped(service: Service) -> None:
    limits = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; df --block-size=1G /dev/shm"
    said = service.inside("sh", "-c", limits).split()
    assert said[0] == "4096"
    assert said[said.index("shm") + 1] == "1"
    assert service.inside("cat", "/proc/1/comm") == "docker-init\n"


def test_a_service_is_published_on_loopback_alone(service: Service) -> None:
    service.container.reload()
    network = service.container.attrs["NetworkSettings"]
    published = [binding for port in network["Ports"].values() for binding in port or []]
    assert published == [{"HostIp": "127.0.0.1", "HostPort": str(service.server.port)}]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((network["Gateway"], service.server.port), timeout=5)


def test_the_secret_is_in_nothing_that_others_can_read(service: Service, engine: docker.DockerClient) -> None:
    secret = max(re.split("[/=]", service.server.link), key=len)
    assert len(secret) > 40
    image = service.container.image
    assert image
    processes = service.inside("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert processes.count("python") > 1
    for known in (image.attrs, image.history(), service.container.attrs, processes):
        assert secret not in json.dumps(known)


def test_secrets_differ_each_time_and_cannot_be_guessed() -> None:
    made = {services.secret() for _ in range(100)}
    assert len(made) == 100
    assert min(len(secret) * 6 for secret in made) >= 128, "bits, at six a character"


def test_a_taken_port_is_stepped_over_and_named(image: str, checkout: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with serving("tensorboard", checkout, uid=os.getuid(), gid=os.getgid(), PORT=str(port)) as one:
            assert one.server.port > port
            assert f"port {port} is taken, trying {port + 1}" in one.server.said


@pytest.mark.parametrize("name", ["TOKEN", "JUPYTER_TOKEN"])
def test_a_chosen_token_is_refused_in_the_container_too(image: str, checkout: Path, name: str) -> None:
    done = run(["make", "notebook", "RUNTIME=docker", f"{name}=mine"], cwd=checkout)
    assert "the token can't be chosen or left out" in done.stdout + done.stderr
    assert done.returncode == 2


@pytest.mark.soak
def test_three_starts_have_three_tokens(image: str, checkout: Path) -> None:
    tokens = set()
    for _ in range(3):
        with serving("notebook", checkout, uid=os.getuid(), gid=os.getgid()) as one:
            tokens.add(one.server.token)
    assert len(tokens) == 3


@pytest.mark.soak
def test_docker_calls_a_ready_service_healthy_and_a_wedged_one_unhealthy(either: Service) -> None:
    assert wait_until(lambda: either.health() == "healthy", seconds=60)
    main = either.inside("cat", "/proc/1/task/1/children").split()[0]
    server = either.inside("cat", f"/proc/{main}/task/{main}/children").split()[0]
    either.inside("sh", "-c", f"kill -STOP {server}")
    begun = time.monotonic()
    # Asked every 8 s, given 5 s, twice: at most 26 s; the rest is for a busy machine.
    assert wait_until(lambda: either.health() == "unhealthy", seconds=90)
    took = time.monotonic() - begun
    either.container.stop(timeout=5)  # then docker kills, and the code is not 0
    assert either.server.process.wait(30) == 0, "even then it ends in time by itself"
    name = either.server.line.split(":")[0]
    soak.record(f"a_wedged_{name}_is_unhealthy_in_docker", f"after {took:.0f} s, load {os.getloadavg()[0]:.1f}")


def test_a_closed_terminal_ends_the_service_and_its_container(either: Service) -> None:
    os.killpg(either.server.process.pid, signal.SIGHUP)
    either.server.process.wait(30)  # serving() sees that no container is left
    assert wait_until(lambda: not running(either.container), seconds=30)


@pytest.mark.soak
def test_docker_stop_ends_kernels_too_without_being_forced(notebook: Service) -> None:
    notebook.run_cell("import atexit, pathlib; atexit.register(pathlib.Path('/workspace/ended').touch)")
    begun = time.monotonic()
    notebook.container.stop(timeout=60)
    took = time.monotonic() - begun
    assert took < 30, "by itself; docker forces it after 60 s"
    assert notebook.server.process.wait(30) == 0
    assert (notebook.checkout / "ended").exists(), "the kernel's last word"
    soak.record("docker_stop_ends_kernels_too", f"after {took:.1f} s, load {os.getloadavg()[0]:.1f}")


@pytest.mark.soak
@users
def test_what_a_notebook_writes_belongs_to_the_host_user(image: str, checkout: Path, uid: int, gid: int) -> None:
    with serving("notebook", checkout, uid=uid, gid=gid) as running:
        content = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
        running.server.exchange("PUT", "/api/contents/notebooks/saved.ipynb", {"type": "notebook", "content": content})
        running.run_cell("import pathlib; pathlib.Path('/workspace/runs/written').touch()")
    assert (checkout / "notebooks/saved.ipynb").exists()
    assert (checkout / "runs/written").exists()
    assert (checkout / ".samebench/jupyter").is_dir()
    assert owners(checkout) == {(uid, gid)}
