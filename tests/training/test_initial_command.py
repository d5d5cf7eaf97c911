"""`--init` and INIT=: started by one process or two, and reproduced, it comes to the same bits."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.runs import receipt
from samebench.training import reproduce
from tests.commands import SOURCE, call
from tests.samebench.checkout import run as run_command

TRAIN = ("-m", "samebench.training", "--data", "synthetic", "--epochs", "1", "--batch-size", "64")


def receipts(at: Path) -> list[dict[str, Any]]:
    return [receipt.read(path) for path in sorted(at.glob("runs/*/receipt.json"))]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and another that was started from it by one process."""
    at = tmp_path_factory.mktemp("started")
    done = call(*TRAIN, "--network", "linear", at=at)
    assert done.returncode == 0, done.stderr
    (place,) = at.glob("runs/[!.]*")
    place.rename(at / "runs/0")  # so that it is the oldest by its name
    done = call(*TRAIN, "--init", "runs/0", at=at)
    assert done.returncode == 0, done.stderr
    return at


def test_the_network_is_that_of_the_initial_model_unless_another_is_asked_for(started: Path) -> None:
    assert [each["settings"]["network"] for each in receipts(started)] == ["linear", "linear"]
    done = call(*TRAIN, "--init", "runs/0", "--network", "conv", at=started)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "runs/0: its network is linear, and network=conv is asked for" in done.stderr


def test_two_processes_start_from_it_to_the_same_bits(started: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copytree(started / "runs/0", tmp_path / "runs/0")
    done = call(*TRAIN, "--init", "runs/0", at=tmp_path, changes={"PROCS": "2"})
    assert (done.returncode, done.stderr) == (0, "")
    one, two = receipts(started)[1], receipts(tmp_path)[1]
    assert two["processes"]["count"] == 2
    assert two["weights_sha256"] == one["weights_sha256"]


@pytest.mark.soak
def test_two_processes_refuse_it_with_one_voice(started: Path, tmp_path: Path) -> None:
    shutil.copytree(started / "runs", tmp_path / "runs")
    refused = call(*TRAIN, "--init", "runs/0", "--network", "conv", at=tmp_path, changes={"PROCS": "2"})
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_reproduce_trains_from_the_same_weights_or_says_in_one_line_which_are_wanted(
    started: Path, tmp_path: Path
) -> None:
    shutil.copytree(started / "runs", tmp_path / "runs")
    then = receipts(tmp_path)[1]
    words = ("-m", "samebench.training.reproduce", "--run", f"runs/{then['run']}")
    done = call(*words, at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"identical: weights {then['weights_sha256']}"
    (tmp_path / "runs/0").rename(tmp_path / "elsewhere")
    count = len(receipts(tmp_path))
    gone = call(*words, at=tmp_path)
    assert (gone.returncode, gone.stderr.count("\n")) == (2, 1)
    assert f"wanted is the model of weights {then['init']['weights_sha256'][:12]}, from anywhere" in gone.stderr
    assert len(receipts(tmp_path)) == count
    found = call(*words, "--init", "elsewhere", at=tmp_path)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == f"identical: weights {then['weights_sha256']}"


def test_init_goes_to_training_and_reproducing_alone() -> None:
    for target in ("train", "reproduce", "export", "evaluate"):
        said = run_command(["make", "-n", target, "SAMEBENCH=1", "INIT=runs/my own"], cwd=SOURCE.parent).stdout
        assert ('--init "runs/my own"' in said) == (target in {"train", "reproduce"})


def test_no_init_is_asked_of_the_golden_run() -> None:
    with pytest.raises(UsageError, match="--quick with init=runs/a: the golden run's own settings stand; leave it out"):
        reproduce.main(["--quick", "--init", "runs/a"])
