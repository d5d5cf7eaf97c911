"""One training in several processes, started by torchrun as `make train PROCS=` does: the same bits, whoever dies."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samebench.runs import receipt
from tests.commands import call, source, start

TRAIN = ("-m", "samebench.training", "--data", "synthetic", "--epochs", "2", "--batch-size", "64")
SECONDS = 30  # a bound for what takes one or two


def receipts(at: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(at.glob("runs/*/receipt.json"))]


def trained(at: Path, *words: str, **variables: str) -> dict[str, Any]:
    at.mkdir(exist_ok=True)
    done = call(*TRAIN, *words, at=at, changes=variables)
    assert (done.returncode, done.stderr) == (0, "")
    (told,) = receipts(at)
    receipt.check(told, at)
    return told


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of one process."""
    return str(trained(tmp_path_factory.mktemp("alone"))["weights_sha256"])


def begun(at: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """A training whose first epoch is over."""
    process = start(*TRAIN, *words, at=at, changes=variables)
    deadline = time.monotonic() + 100
    while not list(at.glob("runs/*/checkpoints/*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None
    return process


def workers(process: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun has started."""
    children = Path(f"/proc/{process.pid}/task").glob("*/children")
    return sorted(int(child) for each in children for child in each.read_text().split())


@pytest.fixture
def none_left() -> Iterator[list[int]]:
    """Sees that of the processes in this list none is there in the end."""
    pids: list[int] = []
    yield pids
    deadline = time.monotonic() + SECONDS
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.mark.parametrize(
    "count", ["3", pytest.param("1", marks=pytest.mark.soak), pytest.param("4", marks=pytest.mark.soak)]
)
def test_any_number_of_processes_gives_the_weights_of_one(count: str, alone: str, tmp_path: Path) -> None:
    told = trained(tmp_path, PROCS=count)
    assert told["weights_sha256"] == alone
    assert told["processes"] == {"count": int(count), "machines": 1}


def test_one_that_is_killed_ends_all_and_the_next_start_goes_on(
    alone: str, tmp_path: Path, none_left: list[int]
) -> None:
    process = begun(tmp_path, PROCS="2")
    none_left += workers(process)
    assert len(none_left) == 2
    os.kill(none_left[1], signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 4
    assert re.search(r"lost the other processes \(.*\); resume with: make train RESUME=runs/", said)
    assert "process 1 was killed by SIGKILL" in said
    assert "Traceback" not in said
    assert receipts(tmp_path)[0]["state"] == "interrupted"
    resumed = trained(tmp_path, "--resume", "latest", PROCS="3")
    assert resumed["weights_sha256"] == alone
    assert resumed["processes"]["count"] == 3


def test_with_restarts_the_job_goes_on_by_itself(alone: str, tmp_path: Path, none_left: list[int]) -> None:
    process = begun(tmp_path, PROCS="2", RESTARTS="1")
    none_left += workers(process)
    os.kill(none_left[0], signal.SIGKILL)
    process.communicate(timeout=100)
    assert process.returncode == 0
    (told,) = receipts(tmp_path)
    assert told["weights_sha256"] == alone
    assert len(told["resumed"]) == 1


def test_told_to_stop_they_stop_at_the_same_step(tmp_path: Path, none_left: list[int]) -> None:
    process = begun(tmp_path, "--epochs", "40", PROCS="2")
    none_left += workers(process)
    process.terminate()
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 4
    (line,) = said.splitlines()
    assert re.search(r"interrupted in epoch \d+ of 40; resume with: make train RESUME=runs/", line)


@pytest.mark.soak
def test_when_the_launcher_is_killed_nobody_works_on(tmp_path: Path, none_left: list[int]) -> None:
    process = begun(tmp_path, "--epochs", "400", PROCS="2")
    none_left += workers(process)
    process.kill()
    process.communicate(timeout=SECONDS)
    assert receipts(tmp_path)[0]["state"] == "interrupted"


@pytest.mark.soak
def test_a_job_that_is_started_again_takes_its_own_run_up_and_is_done_only_once(alone: str, tmp_path: Path) -> None:
    job = {"JOB": "evening", "PROCS": "2"}
    process = begun(tmp_path, **job)
    process.terminate()
    process.communicate(timeout=SECONDS)
    assert trained(tmp_path, **job)["weights_sha256"] == alone
    assert trained(tmp_path, **job)["job"] == "evening"
    trained(tmp_path / "other", JOB="morning", PROCS="1")


@pytest.mark.soak
def test_fast_deals_the_batch_out_and_says_so(tmp_path: Path) -> None:
    told = trained(tmp_path, "--fast", "--epochs", "4", PROCS="2")
    assert told["settings"]["fast"]
    assert told["history"][-1]["train_loss"] < told["history"][0]["train_loss"] / 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "5 processes: there are only 4 shards to work on; take fewer processes, or --shards 5"),
        pytest.param(
            ("--fast",),
            "5 processes: setting batch_size=64 can't be dealt out; take a multiple of 5",
            marks=pytest.mark.soak,
        ),
        (("--lr", "0"), "setting lr=0.0 is impossible"),
    ],
)
def test_what_is_refused_is_said_once_and_leaves_no_run(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = call(*TRAIN, *words, at=tmp_path, changes={"PROCS": "5"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert said in line
    assert not receipts(tmp_path)


def test_a_slow_leader_is_heard_before_the_others_end(tmp_path: Path) -> None:
    slow = "import os, sys, time\nif os.environ.get('RANK') == '0':\n    say = sys.stderr.write\n"
    slow += "    sys.stderr.write = lambda line: (time.sleep(3), say(line))[1]\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    path = f"{tmp_path}{os.pathsep}{source()}"
    done = call(*TRAIN, "--shards", "1", at=tmp_path, changes={"PROCS": "2", "PYTHONPATH": path})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there are only 1 shards" in line


@pytest.mark.soak
def test_a_loss_that_is_none_is_said_once(tmp_path: Path) -> None:
    done = call(*TRAIN, "--lr", "1e30", at=tmp_path, changes={"PROCS": "2"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "the loss is nan; take a lower lr" in line
