"""Which run a command takes where none is named."""

import json
import shutil
from pathlib import Path

import pytest

from samebench.core import files
from samebench.core.command import UsageError
from samebench.data import source
from samebench.runs.run import Run
from samebench.serving import run_budgets
from samebench.shipping import flow
from tiny.settings import Budgets


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One with two sets of its own, which is the working directory."""
    (tmp_path / "data").mkdir()
    for name in ("boots", "shoes"):
        (tmp_path / f"data/{name}.sha256").write_text(f"{name}, of now\n")
    monkeypatch.setattr(source, "LISTINGS", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(day: int, name: str, *, now: bool, accuracy: float = 0.95) -> str:
    """A run of this day on the set of this name, in the version of now or another."""
    directory = Path(f"runs/202611{day:02}-000000-abcd")
    directory.mkdir(parents=True)
    sha256 = files.digest(Path(f"data/{name}.sha256")) if now else "0" * 64
    listings = {f"data/{name}.sha256": sha256}
    told = {"state": "done", "settings": {"data": name}, "validation_accuracy": accuracy, "listings": listings}
    (directory / "receipt.json").write_text(json.dumps(told))
    return str(directory)


def taken(data: str = "") -> list[str]:
    """What export, evaluate and flow take."""
    shown = flow.choose_run(flow.Args(data=data))
    assert shown
    runs = [
        run_budgets.newest_within_budget(Path("runs"), Budgets(), data=data),
        Run.list_done(Path("runs"), data=data)[0],
    ]
    return [str(directory) for directory in (*(run.directory for run in runs), shown.directory)]


def test_the_newest_on_the_data_of_this_checkout_is_taken_and_told(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(1, "shoes", now=True)
    expected = write(2, "shoes", now=True)
    other = write(3, "shoes", now=False)
    assert taken() == taken("shoes") == [expected] * 3
    said = f"the newest run, {other}, was trained on another version of its data: taking {expected}\n"
    assert said in capsys.readouterr().err
    (checkout / "data/shoes.sha256").unlink()
    assert taken() == [other] * 3, "none is on data of this checkout: the newest, which is refused for it"


def test_a_run_on_another_set_is_not_taken_for_its_version(checkout: Path) -> None:
    write(1, "boots", now=True)
    expected = write(2, "shoes", now=False)
    assert taken() == [expected] * 3
    assert taken("boots") == ["runs/20261101-000000-abcd"] * 3


def test_flow_shows_a_run_with_its_own_set_alone(checkout: Path) -> None:
    run = write(1, "shoes", now=True)
    shown = flow.choose_run(flow.Args(run=run, data="shoes"))
    assert shown
    assert str(shown.directory) == run
    with pytest.raises(UsageError, match=f"^{run}: was trained on shoes, not on boots; leave out one of the two$"):
        flow.choose_run(flow.Args(run=run, data="boots"))


def test_one_that_is_accurate_enough_is_on_the_data_of_this_checkout_if_one_is(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = write(1, "shoes", now=True)
    write(2, "shoes", now=False)
    newest = write(3, "shoes", now=True, accuracy=0.5)
    assert str(run_budgets.newest_within_budget(Path("runs"), Budgets()).directory) == expected
    said = capsys.readouterr().err
    assert said == f"the newest run, {newest}, has validation accuracy 50.00%, 90.00% asked: taking {expected}\n"


def test_a_run_on_the_default_set_is_found_by_its_name_and_one_on_the_synthetic_set_only_so(
    tmp_path: Path,
) -> None:
    for number, said in enumerate(["blots", str(tmp_path), "synthetic", "boots"]):
        run = tmp_path / f"runs/2026110{number}-000000-abcd"
        run.mkdir(parents=True)
        (run / "receipt.json").write_text(json.dumps({"state": "done", "settings": {"data": said}}))

    def days(asked: str) -> list[str]:
        return [run.name[7] for run in Run.list_done(tmp_path / "runs", data=asked)]

    assert days("blots") == ["1", "0"]
    assert days("") == ["3", "1", "0"]
    assert days("synthetic") == ["2"]
    for wrong in ("boots", "bots", str(tmp_path / "nowhere")):
        with pytest.raises(UsageError, match=f"data {wrong}: no set of that name, and no directory; there are "):
            Run.list_done(tmp_path / "runs", data=wrong)
    for name in ("20261100-000000-abcd", "20261101-000000-abcd", "20261103-000000-abcd"):
        shutil.rmtree(tmp_path / "runs" / name)
    with pytest.raises(
        UsageError, match="no run in state done on other data than synthetic; train first, or name a run"
    ):
        Run.list_done(tmp_path / "runs", data="")
