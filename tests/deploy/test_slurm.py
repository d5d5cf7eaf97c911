"""deploy/train.slurm, run for real: two node daemons, a job on both, and one of them dies."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samebench.runs import receipt
from tests.commands import lacking, source
from tests.samebench.checkout import ROOT
from tests.training.test_processes import receipts, trained

from .cluster import SPARE, Cluster, lacks, until

WORDS = ("--data", "synthetic", "--batch-size", "64", "--epochs", "4")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    if missing := lacks():
        lacking(f"no {', '.join(missing)} here: install slurm-wlm and munge")
    home = Path(tempfile.mkdtemp(prefix="slurm-"))  # pytest's own folder would be too long for a socket
    cluster = Cluster(home)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of one process."""
    return str(trained(tmp_path_factory.mktemp("alone"), *WORDS[2:])["weights_sha256"])


def submit(cluster: Cluster, at: Path) -> str:
    """Train on both nodes: the job's number. They share one name, which Debian gives to an address of no use."""
    variables = {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(source()), "SAMEBENCH": "1"}
    words = ("sbatch", "--parsable", f"--chdir={at}", ROOT / "deploy/train.slurm", *WORDS)
    job = cluster.call(*words, **variables)
    assert job.isdecimal()
    return job


def shown(cluster: Cluster, job: str, state: str) -> bool:
    return f"JobState={state} " in cluster.call("scontrol", "--oneliner", "show", "job", job)


def done(cluster: Cluster, job: str, at: Path, *, seconds: float = 100) -> dict[str, Any]:
    """The receipt, when the job is over."""
    try:
        until(lambda: shown(cluster, job, "COMPLETED"), "the job is not over", seconds=seconds)
    except AssertionError:
        print(cluster.call("scontrol", "show", "job", job), said(at), cluster.said(), sep="\n")  # pytest shows it
        raise
    (found,) = receipts(at)
    receipt.check(found, at)
    return found


def begun(at: Path) -> None:
    until(lambda: list(at.glob("runs/*/checkpoints/*.json")), "no checkpoint")


def said(at: Path) -> str:
    return "".join(path.read_text() for path in at.glob("slurm-*.out"))


def put_back(cluster: Cluster, job: str) -> None:
    until(lambda: shown(cluster, job, "PENDING"), "the job was not put back")


def at_once(cluster: Cluster, job: str) -> None:
    """Slurm lets a job that it has put back wait two minutes, until the nodes have forgotten it.

    It may set them again when the nodes say that they have. In the second in which a node was told to forget a job it
    takes it for the old one still, and refuses it.
    """
    time.sleep(2)

    def begins() -> bool:
        cluster.call("scontrol", "update", f"JobId={job}", "StartTime=now")
        return not shown(cluster, job, "PENDING")

    until(begins, "the job does not begin again")


def test_two_nodes_give_the_weights_of_one_process(cluster: Cluster, alone: str, tmp_path: Path) -> None:
    told = done(cluster, submit(cluster, tmp_path), tmp_path)
    assert told["weights_sha256"] == alone
    assert told["processes"] == {"count": 2, "machines": 2}
    assert "resumed" not in told


@pytest.mark.soak
@pytest.mark.parametrize("node", ["n1", "n2"])
def test_a_node_dies_and_on_another_the_job_goes_on_where_it_was(
    node: str, cluster: Cluster, alone: str, tmp_path: Path
) -> None:
    job = submit(cluster, tmp_path)
    begun(tmp_path)
    cluster.kill_node(node)
    put_back(cluster, job)
    cluster.start_node(SPARE)
    at_once(cluster, job)
    told = done(cluster, job, tmp_path)
    assert told["weights_sha256"] == alone
    assert len(told["resumed"]) == 1
    assert told["job"] == f"slurm-{job}"


@pytest.mark.soak
def test_a_node_dies_and_comes_back_and_nobody_does_anything(cluster: Cluster, alone: str, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    begun(tmp_path)
    cluster.kill_node("n2")
    put_back(cluster, job)
    cluster.start_node("n2")
    told = done(cluster, job, tmp_path, seconds=240)
    assert told["weights_sha256"] == alone
    assert len(told["resumed"]) == 1


@pytest.mark.soak
def test_told_to_stop_the_job_puts_itself_back_and_goes_on(cluster: Cluster, alone: str, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path)
    begun(tmp_path)
    cluster.call("scancel", "--signal=TERM", job)  # as Slurm does a minute before the time limit
    put_back(cluster, job)
    at_once(cluster, job)
    told = done(cluster, job, tmp_path)
    assert told["weights_sha256"] == alone
    assert len(told["resumed"]) == 1
    assert "interrupted in epoch" in said(tmp_path)
