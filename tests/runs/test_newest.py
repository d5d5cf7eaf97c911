"""The newest run is the one that was made last in this checkout, whatever clocks, folders and other checkouts say."""

import json
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.runs import metrics, prune, records
from samebench.runs.run import Run
from samebench.serving import run_budgets
from samebench.shipping import flow
from samebench.training import comparison, reproduce, train
from samebench.training.__main__ import parse_args
from tests.commands import AS_STRANGER, call, lacking, open_to_others, start, stranger_may_start
from tests.samebench.recorded import name, write_run
from tiny.settings import Budgets, Settings

SMALL = Settings(data="synthetic", network="linear", epochs=1)
NEXT_YEAR = "20991126-000000-next"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with two runs, the first made while the clock was years ahead, and a reproduction of the second."""
    home = tmp_path_factory.mktemp("trained")
    first = train.train(SMALL, runs=home / "runs").directory
    second = train.train(replace(SMALL, seed=5), runs=home / "runs").directory
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert reproduce.main(["--run", second.name]) == 0
    change(first, started="2099-11-26T00:00:00Z")
    first.rename(first.with_name(NEXT_YEAR))
    return home


@pytest.fixture
def checkout(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(directory: Path, **facts: Any) -> None:
    path = directory / "receipt.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def last() -> str:
    """The name of the run that was trained last."""
    return next(path.parent.name for path in Path("runs").glob("*/receipt.json") if seed(path) == 5)


def seed(path: Path) -> int:
    told = json.loads(path.read_text())
    return 0 if "reproduces" in told else int(told["settings"]["seed"])


def resumed() -> Path:
    *_, run = parse_args(["--resume", "latest", "--epochs", "2"])
    assert run
    return run.directory


def shown() -> Path:
    run = flow.choose_run(flow.Args(data="synthetic"))
    assert run
    return run.directory


def stays(keep: str) -> Path:
    """The run that is kept, of those that are whole."""
    names = prune.select_to_keep(found := records.find(), keep)
    (run,) = [record for record in records.ordinary(found) if record.name in names]
    return run.directory


RUNS = Path("runs")
CHOICES: dict[str, Callable[[], Path]] = {
    "make train RESUME=latest": resumed,
    "make evaluate": lambda: Run.list_done(RUNS, data="synthetic")[0].directory,
    "make export": lambda: run_budgets.newest_within_budget(RUNS, Budgets(), data="synthetic").directory,
    "make flow": shown,
    "make note": lambda: records.find_or_newest("").directory,
    "make reproduce": lambda: RUNS / reproduce.find_receipt("")["run"],
    "make prune KEEP=last": lambda: stays("last"),
    "make prune KEEP=1": lambda: stays("1"),
    "the tie of two best runs": lambda: records.best(equal(records.find()))[0].directory,
}


def equal(found: list[records.Record]) -> list[records.Record]:
    figures = {"metrics": {"validation": {"accuracy": 0.5, "loss": 0.5}}}
    return [records.Record(each.directory, each.state, {**each.receipt, **figures}, order=each.order) for each in found]


@pytest.mark.parametrize("choice", CHOICES)
def test_the_newest_is_the_run_that_was_made_last_and_no_reproduction(checkout: Path, choice: str) -> None:
    assert CHOICES[choice]().name == last()
    shutil.copytree(checkout / "runs" / NEXT_YEAR, theirs := checkout / "runs/20981126-000000-mate")
    change(theirs, sequence=10_000, checkout="0123456789abcdef", run=theirs.name)
    assert CHOICES[choice]().name == last(), "a teammate's run was copied here, and its number is of their checkout"
    old = shutil.copytree(checkout / "runs" / NEXT_YEAR, checkout / "runs/20971126-000000-oldr")
    told = json.loads((old / "receipt.json").read_text())
    del told["sequence"], told["checkout"]
    (old / "receipt.json").write_text(json.dumps(told))
    assert CHOICES[choice]().name == last(), "nor is a run that is older than the numbers"


@pytest.mark.parametrize("choice", [each for each in CHOICES if each != "make reproduce"])
def test_a_renamed_folder_changes_nothing(checkout: Path, choice: str) -> None:
    (checkout / "runs" / last()).rename(checkout / "runs/a-good-one")
    assert CHOICES[choice]().name == "a-good-one"


def test_the_two_newest_of_a_notebook_are_those_that_were_made_last(checkout: Path) -> None:
    write_run(RUNS, 98, data_version=(version := str(Run.open(RUNS / last()).receipt["data_version"])))
    assert [run.directory.name for run in comparison.newest(RUNS, version=version)] == [NEXT_YEAR, last()]


def test_runs_are_listed_as_they_were_made_and_a_start_in_the_future_is_told(checkout: Path) -> None:
    done = call("-m", "samebench.runs.list_runs", "--json", at=checkout)
    listed = json.loads(done.stdout)
    assert [each["sequence"] for each in listed] == [3, 2, 1]
    assert [each["run"] for each in listed[1:]] == [last(), NEXT_YEAR]
    assert done.stderr.startswith(f"runs/{NEXT_YEAR}: started 2099-11-26T00:00:00Z, which is in the future: a clock ")
    assert done.stderr.count("\n") == 1


def test_where_a_run_with_a_start_in_the_future_is_taken_that_is_told(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(checkout / "runs" / last())
    assert CHOICES["make evaluate"]().name == NEXT_YEAR
    assert "which is in the future" in capsys.readouterr().err


def test_a_reproduction_says_so_in_its_receipt_and_in_the_table_and_is_taken_by_its_name(checkout: Path) -> None:
    (record,) = [each for each in records.find() if each.reproduces]
    assert record.reproduces == last()
    (line,) = [each for each in table(checkout) if each.startswith(record.name)]
    assert f"reproduces {last()}" in line
    assert "*" not in line
    assert records.find_or_newest(record.name) == record
    shutil.rmtree(checkout / "runs" / last())
    shutil.rmtree(checkout / "runs" / NEXT_YEAR)
    for choice in (
        "make train RESUME=latest",
        "make evaluate",
        "make export",
        "make note",
        "make reproduce",
        "make prune KEEP=last",
    ):
        with pytest.raises(UsageError, match="no run"):
            CHOICES[choice]()


def table(at: Path) -> list[str]:
    return call("-m", "samebench.runs.list_runs", at=at).stdout.splitlines()


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("content", ["{", '{"state": "done", "settings": 7}', None])
def test_a_damaged_run_is_passed_over(
    checkout: Path, choice: str, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, damaged = last(), checkout / "runs/20991231-000000-zzzz"
    damaged.mkdir()
    if content:
        (damaged / "receipt.json").write_text(content)
    assert CHOICES[choice]().name == expected
    named = f"runs/{damaged.name}: " in capsys.readouterr().err
    assert named or "prune" in choice or "tie" in choice or "flow" in choice, "those three show it in another way"


def test_the_test_figure_chooses_no_run(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change(RUNS / last(), metrics={"validation": {"accuracy": 0.95}, "test": {"accuracy": 0.0}})
    change(RUNS / NEXT_YEAR, metrics={"validation": {"accuracy": 0.2}, "test": {"accuracy": 1.0}})
    assert run_budgets.newest_within_budget(RUNS, Budgets(), data="synthetic").directory.name == last()
    assert [record.name for record in records.best(records.find())] == [last()]
    change(RUNS / last(), metrics={"validation": {"accuracy": 0.1}, "test": {"accuracy": 0.0}})
    assert [record.name for record in records.best(records.find())] == [NEXT_YEAR]
    with pytest.raises(UsageError, match=r"has validation accuracy 10.00%, 90.00% asked"):
        run_budgets.newest_within_budget(RUNS, Budgets(), data="synthetic")


def test_an_older_receipt_tells_the_validation_accuracy_in_its_history(tmp_path: Path) -> None:
    losses = {0.5: 0.8, 0.3: 0.9, 0.4: 0.95}
    history = [{"validation_loss": loss, "validation_accuracy": share} for loss, share in losses.items()]
    assert metrics.figures({"history": history}) == {"validation_accuracy": 0.9}
    strange: list[dict[str, Any]] = [{}, {"validation_loss": "low"}, {"validation_loss": 0.1, "validation_accuracy": 7}]
    for entry in strange:
        assert metrics.figures({"history": [entry]}) == {}


# ---- the sequence ----


def sequences(home: Path) -> list[int]:
    return sorted(record.receipt["sequence"] for record in records.find(home))


def test_runs_that_start_at_the_same_moment_have_different_numbers(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: Run.start(tmp_path), range(24)))
    assert sequences(tmp_path) == list(range(1, 25))
    assert Run.newest(tmp_path).receipt["sequence"] == 24
    for run in runs:
        run.release()


def test_a_number_does_not_come_again_after_its_run_was_deleted(tmp_path: Path) -> None:
    for _ in range(2):
        run = Run.start(tmp_path)
        run.release()
    shutil.rmtree(run.directory)
    assert Run.start(tmp_path).receipt["sequence"] == 3


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"checkout": 7, "sequence": "x"}'])
def test_where_the_counter_is_lost_or_damaged_the_next_run_is_the_newest(tmp_path: Path, content: str | None) -> None:
    earlier = Run.start(tmp_path)
    (tmp_path / records.COUNTER).unlink()
    if content is not None:
        (tmp_path / records.COUNTER).write_text(content)
    later = Run.start(tmp_path)
    change(earlier.directory, started="2099-01-01T00:00:00Z")
    assert Run.newest(tmp_path).directory == later.directory


KILLED = """
import os, signal
from pathlib import Path
from samebench.core import files
from samebench.runs import records
if {before}:
    files.write = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
with records.next_in_sequence(Path("runs")):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("before", [True, False])
def test_a_kill_while_the_number_is_taken_leaves_nothing_in_the_way(tmp_path: Path, before: bool) -> None:
    first = Run.start(tmp_path / "runs")
    assert call("-c", KILLED.format(before=before), at=tmp_path).returncode == -signal.SIGKILL
    later = Run.start(tmp_path / "runs")
    assert later.receipt["checkout"] == first.receipt["checkout"]
    assert later.receipt["sequence"] > first.receipt["sequence"]
    assert Run.newest(tmp_path / "runs").directory == later.directory


def test_runs_that_can_only_be_read_are_listed(tmp_path: Path) -> None:
    if not stranger_may_start():
        lacking("needs setpriv, and a Python that another user may start")
    for number in range(2):
        write_run(tmp_path / "runs", number)
    open_to_others(tmp_path)
    (tmp_path / "runs").chmod(0o555)
    process = start("-m", "samebench.runs.list_runs", "--json", at=tmp_path, before=AS_STRANGER)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert [each["run"] for each in json.loads(out)] == [name(1), name(0)]


@pytest.mark.parametrize("by_next_run", [True, False])
def test_what_a_kill_while_counting_has_left_goes(tmp_path: Path, by_next_run: bool) -> None:
    left = tmp_path / f".{records.COUNTER}.0123abcd"
    left.touch()
    if by_next_run:
        with records.next_in_sequence(tmp_path):
            assert not left.exists()
    else:
        records.sweep(tmp_path)
        assert not left.exists()
