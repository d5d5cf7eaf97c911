"""`make sweep`: real trainings at every point of a grid, none twice, and an end that can be gone on from."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from samebench.core import file_lock
from samebench.core.command import UsageError
from samebench.environment import cores
from samebench.runs import grid, receipt, records, sweep
from tests.commands import call, source, start
from tests.samebench.recorded import write_run
from tiny.settings import Settings

SMALL = ("--data", "synthetic", "--network", "linear", "--epochs", "1")
POINTS = "batch_size=256,100000,128"  # the synthetic data have fewer images than that

# Stands for a training: says what it was given; fails, or waits for a signal, where it is told to.
KILN = """
import os, signal, sys, time
print(os.environ["SAMEBENCH_CORES"], os.environ.get("JOB"), *sys.argv[1:], flush=True)
if "--seed=1" in sys.argv:
    sys.exit("error: \\x1b[2J no clay")
for waits in {"--seed=2", "--seed=3"} & {*sys.argv}:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(print("stopped", flush=True) or 4))
    open(waits, "w").write(str(os.getpid()))
    time.sleep(60)
"""


def words(gridded: str, *flags: str, training: str = "samebench.training", jobs: int = 2) -> list[str]:
    own = ["--training", training, "--grid", gridded, "--jobs", str(jobs)]
    return ["-m", "samebench.runs.sweep", *own, "--", *flags]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A sweep of three points, of which the second fails; where, and what it said."""
    home = tmp_path_factory.mktemp("swept")
    return home, call(*words(POINTS, *SMALL), at=home)


@pytest.fixture
def again(swept: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """A copy of its folder to do something with."""
    shutil.copytree(swept[0] / "runs", tmp_path / "runs")
    return tmp_path


@pytest.fixture
def kiln(tmp_path: Path) -> Path:
    """A folder from which the stand-in can be started."""
    (tmp_path / "kiln.py").write_text(KILN)
    return tmp_path


def own(home: Path) -> Path:
    """The run with 128 images a step."""
    return next(each.directory for each in records.find(home / "runs") if each.settings["batch_size"] == 128)


def receipts(home: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(home.glob("runs/*/receipt.json"))]


def test_every_point_is_trained_and_a_failing_one_stops_no_other(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    home, done = swept
    assert done.returncode == 1
    found = receipts(home)
    assert sorted(each["settings"]["batch_size"] for each in found) == [128, 256]
    assert {each["state"] for each in found} == {"done"}
    (line,) = done.stderr.splitlines()
    assert line.startswith("batch_size=100000: exit code 2: error: setting batch_size=100000 is impossible; there are ")


def test_lines_bear_their_point_and_the_table_is_in_the_order_of_the_grid(
    swept: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    lines = swept[1].stdout.splitlines()
    assert lines[0] == "points: 3; 0 done, 0 to resume, 3 to train"
    assert any(line.startswith("batch_size=256 | epoch 1/1  train loss") for line in lines)
    heading, *table = lines[-3:]
    assert heading.split()[:4] == ["run", "state", "accuracy", "loss"]
    assert ["batch_size=128" in line for line in table] == [False, True]
    assert table[1].index("batch_size=128") < table[1].index("data=synthetic"), "cut is what all of them have"
    assert sum("*" in line for line in table) == 1


def test_the_same_sweep_again_trains_only_what_is_not_done(again: Path) -> None:
    done = call(*words("batch_size=128,256", *SMALL), at=again)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("points: 2; 2 done, 0 to resume, 0 to train\n")
    assert len(receipts(again)) == 2
    assert len(done.stdout.splitlines()) == 5


def test_trainings_get_their_share_of_the_cores(swept: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    assert {each["machine"]["cores"] for each in receipts(swept[0])} == {max(1, cores.available_cpus() // 2)}


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources, locks and listings are those of the processes that trained."""
    for module in (grid, receipt):
        monkeypatch.setattr(module, "ROOT", source().parent)


CHANGES = {
    "another source": lambda receipt: receipt["code"]["source"].update({"src/samebench/training/train.py": "0" * 64}),
    "a source less": lambda receipt: receipt["code"]["source"].popitem(),
    "another lock": lambda receipt: receipt["locks"].update({"requirements.lock": "0" * 64}),
    "no locks": lambda receipt: receipt.pop("locks"),
    "a GPU": lambda receipt: receipt.update(device="cuda"),
    "another setting": lambda receipt: receipt["settings"].update(seed=1),
    "a setting less": lambda receipt: receipt["settings"].pop("label_smoothing"),
    "a change in its middle": lambda receipt: receipt.update(resumed=[{"changed": ["code.source.x: 1 then, 2 now"]}]),
    "failed": lambda receipt: receipt.update(state="failed"),
    "a reproduction": lambda receipt: receipt.update(reproduces="20261101-000000-abcd"),
}


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("change", [None, *CHANGES])
def test_a_run_counts_for_a_point_only_where_nothing_that_is_compared_differs(again: Path, change: str | None) -> None:
    path = own(again) / "receipt.json"
    if change:
        receipt = json.loads(path.read_text())
        CHANGES[change](receipt)
        path.write_text(json.dumps(receipt))
    (point,) = grid.match_runs(grid.points(Settings, "batch_size=128", SMALL), records.find(again / "runs"))
    assert point.state == ("" if change else "done")


LISTING = "data/blots.sha256"
VERSIONS: dict[str, tuple[Any, str]] = {
    "nothing": ({}, "done"),
    "another data set was imported or deleted": ({"data/shoes.sha256": "0" * 64}, "done"),
    "its data set": ({LISTING: "0" * 64}, ""),
    "its listing, which an older bench did not write": ({LISTING: None}, ""),
}


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("change", VERSIONS)
def test_a_point_depends_on_the_version_of_its_own_data_alone(tmp_path: Path, change: str) -> None:
    changes, state = VERSIONS[change]
    listings = {name: sha256 for name, sha256 in (receipt.listings() | changes).items() if sha256}
    facts: dict[str, Any] = {"code": {"source": receipt.sources()}, "locks": {}, "device": "cpu"}
    for number, place in enumerate(("blots", str(tmp_path))):
        write_run(tmp_path, number, settings={"data": place, "init": ""}, listings=listings, **facts)
        (point,) = grid.match_runs(grid.points(Settings, "epochs=6", ["--data", place]), records.find(tmp_path))
        assert point.state == state


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("file", ["", "/model.safetensors"])
def test_a_run_that_was_started_from_other_weights_than_are_there_now_does_not_count(tmp_path: Path, file: str) -> None:
    first = write_run(tmp_path, 1, weights_sha256="a" * 64)
    init = f"{first.directory}{file}"
    facts: dict[str, Any] = {
        "code": {"source": receipt.sources()},
        "listings": receipt.listings(),
        "locks": {},
        "device": "cpu",
    }
    write_run(tmp_path, 2, settings={"init": init}, init={"weights_sha256": "a" * 64}, **facts)

    def state() -> str:
        (point,) = grid.match_runs(grid.points(Settings, "epochs=6", ["--init", init]), records.find(tmp_path))
        return point.state

    assert state() == "done"
    path = first.directory / "receipt.json"
    path.write_text(path.read_text().replace("a" * 64, "b" * 64))
    assert state() == ""
    shutil.rmtree(first.directory)
    assert state() == "done", "where nothing is known, the name decides"


def test_a_point_that_another_process_works_on_is_left_to_it(again: Path) -> None:
    path = (directory := own(again)) / "receipt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running"}))
    handle, _ = file_lock.acquire(directory)
    done = call(*words("batch_size=128", *SMALL), at=again)
    os.close(handle)
    assert done.returncode == 1
    assert done.stdout.startswith("points: 1; 0 done, 1 in progress elsewhere, 0 to resume, 0 to train\n")
    assert done.stderr == f"batch_size=128: runs/{directory.name} is in progress in another process\n"


def test_ctrl_c_leaves_a_run_that_the_same_command_takes_up(tmp_path: Path) -> None:
    sweep = words("lr=0.05", *SMALL[:-1], "80")
    process = start(*sweep, at=tmp_path)
    deadline = time.monotonic() + 90
    while not list(tmp_path.glob("runs/*/checkpoints/*.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert (process.returncode, err) == (4, "interrupted; the same command goes on with it\n"), out
    (before,) = receipts(tmp_path)
    assert before["state"] == "interrupted"
    assert f"lr=0.05 | runs/{before['run']}: interrupted in epoch" in out

    done = call(*sweep, at=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("points: 1; 0 done, 1 to resume, 0 to train\n")
    (after,) = receipts(tmp_path)
    assert (after["run"], after["state"], len(after["resumed"])) == (before["run"], "done", 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_once_and_nothing_more_is_started(kiln: Path, number: signal.Signals) -> None:
    process = start(*words("seed=2,3,4", training="kiln", jobs=2), at=kiln, before=["setsid"])
    wait_for(kiln / "--seed=2", kiln / "--seed=3")
    os.killpg(process.pid, number)  # as a terminal does
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 4
    assert sorted(line for line in out.splitlines() if "stopped" in line) == ["seed=2 | stopped", "seed=3 | stopped"]
    assert "seed=4 |" not in out
    assert "KeyboardInterrupt" not in out


def wait_for(*paths: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in paths) and time.monotonic() < deadline:
        time.sleep(0.01)


def test_two_equal_sweeps_at_once_train_each_point_once(kiln: Path) -> None:
    sweep = words("seed=2", training="kiln", jobs=1)
    first = start(*sweep, at=kiln)
    wait_for(kiln / "--seed=2")
    second = call(*sweep, at=kiln)
    assert (second.returncode, "seed=2 |" in second.stdout) == (1, False)
    assert second.stderr == "seed=2: its run is in progress in another process\n"
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=30)
    assert call(*sweep, at=kiln).stderr == second.stderr, "its training goes on without it"
    os.kill(int((kiln / "--seed=2").read_text()), signal.SIGKILL)
    (kiln / "--seed=2").unlink()
    third = start(*sweep, at=kiln)
    wait_for(kiln / "--seed=2")
    third.send_signal(signal.SIGINT)
    out, _ = third.communicate(timeout=30)
    assert "seed=2 | stopped" in out
    assert not list(kiln.glob("runs/.points/*")), "nothing is left"


def test_a_point_that_another_sweep_has_trained_meanwhile_is_not_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (point,) = grid.points(Settings, "epochs=6", ())
    facts: dict[str, Any] = {"code": {"source": receipt.sources()}, "listings": receipt.listings(), "locks": {}}
    write_run(tmp_path / "runs", 1, settings=dict(point.settings), device="cpu", **facts)
    assert sweep.start(point, "no.such.training", core_count=1) is None
    assert sweep.describe_unfinished([point], records.find()) == {}


def test_one_job_at_a_time_goes_through_the_grid_in_order_with_all_cores_and_no_common_job(kiln: Path) -> None:
    command = words("seed=0,1 epochs=1,2", "--lr", "0.3", training="kiln", jobs=1)
    process = start(*command, at=kiln, changes={"JOB": "evening"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    for number, (seed, epochs) in enumerate(((0, 1), (0, 2), (1, 1), (1, 2))):
        name, said = out.splitlines()[1 + number + max(0, number - 2)].split(" | ")
        assert name == f"seed={seed} epochs={epochs}"
        assert said.startswith(f"{cores.available_cpus()} None --")
        usual = {"--data=blots", "--network=conv", "--lr=0.3", "--no-fast"}
        assert {*usual, f"--epochs={epochs}", f"--seed={seed}"} <= set(said.split())
    assert err.splitlines() == [f"seed=1 epochs={epochs}: exit code 1: error: �[2J no clay" for epochs in (1, 2)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--grid", ""], 'GRID=: give settings with their values, such as GRID="lr=0.05,0.1 network=conv,linear"'),
        (["--grid", "lr"], "GRID=lr: give settings"),
        (["--grid", "lr=0.1,"], "GRID=lr=0.1,: give settings"),
        (["--grid", "=1"], "GRID==1: give settings"),
        (["--grid", "epohcs=1,2"], "unknown setting --epohcs=1; did you mean --epochs?"),
        (["--grid", "lr=0.1 epochs=1,0"], "setting epochs=0 is impossible; take 1 or more"),
        (["--grid", "lr=0.1,fast"], "argument --lr: invalid float value: 'fast'"),
        (["--grid", "network=conv,lstm"], "argument --network: invalid choice: 'lstm'"),
        (["--grid", "fast=yes"], "ignored explicit argument 'yes'"),
        (["--grid", "lr=0.1 lr=0.2"], "GRID=lr=0.1 lr=0.2: lr is there twice; give its values once, as lr=1,2"),
        (["--grid", "lr=0.1,0.10"], "GRID=lr=0.1,0.10: lr=0.1 and lr=0.10 are the same training; leave one out"),
        (["--grid", "lr=0.1", "--jobs", "0"], "JOBS=0: give 1 or more"),
        (["--grid", "lr=0.1", "--jobs", "two"], "argument --jobs: invalid int value: 'two'"),
        (["--grid", "lr=0.1", "--", "--resume", "latest"], "unknown setting --resume"),
    ],
)
def test_a_mistake_is_refused_in_one_line_before_anything_starts(kiln: Path, words: Sequence[str], said: str) -> None:
    done = call("-m", "samebench.runs.sweep", "--training", "kiln", *words, at=kiln)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_flags_that_are_on_or_off_are_settings_like_others() -> None:
    on, off = grid.points(Settings, "fast=true,false", ())
    assert ("--fast" in on.cli_args, on.settings["fast"]) == (True, True)
    assert ("--no-fast" in off.cli_args, off.settings["fast"]) == (True, False)


def test_a_value_of_the_grid_goes_before_a_flag_of_all() -> None:
    (point,) = grid.points(Settings, "lr=0.1", ("--lr", "0.3"))
    assert point.settings["lr"] == 0.1


def test_the_settings_alone_load_no_torch(tmp_path: Path) -> None:
    code = "import sys, tiny.settings, samebench.runs.grid; assert 'torch' not in sys.modules"
    assert call("-c", code, at=tmp_path).returncode == 0


def test_a_grid_is_refused_where_nothing_is_in_it() -> None:
    with pytest.raises(UsageError, match="GRID= : give settings"):
        grid.points(Settings, " ", ())
