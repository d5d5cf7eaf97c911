"""Three containers on a private network, as three machines: one training, whatever happens to one."""

import json
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.models.containers import Container
from docker.models.networks import Network

from samebench.runs import receipt
from tests import soak

from .conftest import copy_for_all

TRAIN = ("python", "-m", "samebench.training", "--data", "synthetic", "--batch-size", "64")
LONG = "8"  # epochs, so that there is a middle to disturb
JOB = "evening"
SECONDS = 100  # a bound for every wait
LINK = """
import fcntl, socket, struct, sys, time
def switch(up):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any:
        flags = struct.unpack("16xh", fcntl.ioctl(any, 0x8913, struct.pack("16sh", b"eth0", 0))[:18])[0]
        fcntl.ioctl(any, 0x8914, struct.pack("16sh", b"eth0", flags | 1 if up else flags & ~1))
switch(False)
time.sleep(float(sys.argv[1]))
switch(True)
"""


@dataclass
class Machines:
    """Containers started as the host does, but on a network of their own, with one checkout."""

    engine: docker.DockerClient
    image: str
    network: Network
    checkout: Path
    containers: list[Container] = field(default_factory=list)

    def start(self, *words: str, name: str = "", **variables: str) -> Container:
        container = self.engine.containers.run(
            self.image,
            [*TRAIN, *words],
            cap_drop=["ALL"],
            detach=True,
            environment={"HOME": "/tmp", "USER": "bench", **variables},  # noqa: S108 - the container's own
            init=True,
            mounts=[docker.types.Mount("/workspace", str(self.checkout), type="bind")],
            name=name or f"{self.network.name}-alone",
            network=self.network.name,
            pids_limit=4096,
            read_only=True,
            security_opt=["no-new-privileges"],
            shm_size="1g",
            tmpfs={"/tmp": "exec,mode=1777"},  # noqa: S108
            user=f"{os.getuid()}:{os.getgid()}",
        )
        self.containers.append(container)
        return container

    def machine(self, rank: int, *words: str, **variables: str) -> Container:
        names = {"NNODES": "3", "NODE_RANK": str(rank), "MASTER_ADDR": f"{self.network.name}-0", "PROCS": "1"}
        return self.start(*words, name=f"{self.network.name}-{rank}", **names | {"JOB": JOB} | variables)

    def three(self, *words: str, **variables: str) -> list[Container]:
        return [self.machine(rank, *words, **variables) for rank in range(3)]

    def cut(self, container: Container, *, seconds: float) -> None:
        """Take the container's link down for so long; from beside it, as it may not do that itself."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the SDK leaves its stream to the collector
            self.engine.containers.run(
                self.image,
                ["python", "-c", LINK, str(seconds)],
                cap_add=["NET_ADMIN"],
                network_mode=f"container:{container.id}",
                remove=True,
                user="0",
            )

    def remove(self) -> None:
        """Remove all containers, as their names are needed again."""
        while self.containers:
            self.containers.pop().remove(force=True)

    def receipts(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted(self.checkout.glob("runs/*/receipt.json"))]

    def in_the_middle(self) -> None:
        """Wait until the job has a checkpoint; what one process alone has left is no sign."""
        until(lambda: any(self.has_begun(path) for path in self.checkout.glob("runs/*/receipt.json")))

    def has_begun(self, path: Path) -> bool:
        mine = json.loads(path.read_text()).get("job") == JOB
        return mine and any((path.parent / "checkpoints").glob("*.json"))


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ended(containers: Sequence[Container]) -> tuple[list[int], list[str]]:
    """Their exit codes and what they said, when all have ended."""
    codes = [container.wait(timeout=SECONDS)["StatusCode"] for container in containers]
    return codes, [container.logs().decode() for container in containers]


@pytest.fixture
def machines(engine: docker.DockerClient, image: str, tmp_path: Path) -> Iterator[Machines]:
    checkout = copy_for_all(tmp_path)
    (checkout / "runs").mkdir()
    network = engine.networks.create(f"samebench-{secrets.token_hex(4)}", internal=True)
    all_of_them = Machines(engine, image, network, checkout)
    try:
        yield all_of_them
    finally:
        all_of_them.remove()
        network.remove()


def alone(machines: Machines, *words: str) -> str:
    """The weights of one process in one container."""
    container = machines.start(*words)
    codes, said = ended([container])
    assert codes == [0], said
    machines.remove()
    return str(machines.receipts()[-1]["weights_sha256"])


def one_like_it(machines: Machines, expected: str) -> dict[str, Any]:
    """The receipt of the only run of several machines."""
    (told,) = [each for each in machines.receipts() if each["processes"]["machines"] == 3]
    receipt.check(told, machines.checkout)
    assert told["weights_sha256"] == expected
    return told


def test_three_machines_give_the_weights_of_one_though_one_is_late(machines: Machines) -> None:
    expected = alone(machines, "--epochs", "2")
    early = [machines.machine(rank, "--epochs", "2") for rank in (2, 0)]
    time.sleep(5)
    late = machines.machine(1, "--epochs", "2")
    codes, said = ended([*early, late])
    assert codes == [0, 0, 0], said
    assert one_like_it(machines, expected)["processes"] == {"count": 3, "machines": 3}


def test_a_wrong_address_ends_in_one_line_in_the_time_to_join(machines: Machines) -> None:
    begun = time.monotonic()
    wrong = [machines.machine(rank, MASTER_ADDR="nowhere", JOIN_TIMEOUT="5") for rank in range(3)]
    codes, said = ended(wrong)
    assert codes == [3, 3, 3], said
    assert time.monotonic() - begun < SECONDS
    for each in said:
        (line,) = [line for line in each.splitlines() if "waiting for" not in line]
        assert line.startswith("error: MASTER_ADDR=nowhere, MASTER_PORT=29500, NNODES=3: the machines did not find")


@pytest.mark.soak
@pytest.mark.parametrize("rank", [0, 2])
def test_a_killed_machine_ends_all_and_the_job_started_again_goes_on(machines: Machines, rank: int) -> None:
    expected = alone(machines, "--epochs", LONG)
    containers = machines.three("--epochs", LONG)
    machines.in_the_middle()
    containers.pop(rank).kill()
    codes, said = ended(containers)
    assert codes == [4, 4], said
    assert "Traceback" not in "".join(said)
    assert all("resume with: make train RESUME=runs/" in each for each in said), said
    machines.remove()
    codes, said = ended(machines.three("--epochs", LONG))
    assert codes == [0, 0, 0], said
    assert len(one_like_it(machines, expected)["resumed"]) == 1
    soak.record(f"test_machine_{rank}_of_three_is_killed", "the others end with 4, started again: the same weights")


@pytest.mark.soak
def test_with_restarts_a_machine_that_comes_back_is_taken_in(machines: Machines) -> None:
    expected = alone(machines, "--epochs", LONG)
    containers = machines.three("--epochs", LONG, RESTARTS="2")
    machines.in_the_middle()
    containers[2].kill()
    time.sleep(1)
    containers[2].start()
    codes, said = ended(containers)
    assert codes == [0, 0, 0], said
    assert one_like_it(machines, expected)["resumed"]
    soak.record("test_a_machine_of_three_is_killed_and_comes_back", "with RESTARTS the job goes on: the same weights")


@pytest.mark.soak
def test_a_network_that_is_away_for_ten_seconds_changes_nothing(machines: Machines) -> None:
    expected = alone(machines, "--epochs", LONG)
    containers = machines.three("--epochs", LONG)
    machines.in_the_middle()
    machines.cut(containers[1], seconds=10)
    codes, said = ended(containers)
    assert codes == [0, 0, 0], said
    assert "resumed" not in one_like_it(machines, expected)
    soak.record("test_the_network_of_one_of_three_is_away_for_10_s", "the job goes on: the same weights")
