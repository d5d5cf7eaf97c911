"""Runs of two projects in one folder."""

import sys
from pathlib import Path

import pytest

from samebench import project
from samebench.core import flags
from samebench.core.command import UsageError
from samebench.data import fetch, versions
from samebench.environment import doctor
from samebench.runs import list_runs, receipt, records, selection
from samebench.runs.run import Run

from .recorded import name, write_run

SETTINGS = """
from dataclasses import dataclass
from samebench.settings import setting_field
from tiny.settings import Settings as Base

@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    data: str = setting_field("{name}s", "its own")
    lr: float = setting_field({lr}, "its own")
"""


@pytest.fixture(autouse=True)
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout with two projects and the data set of each; the first is on the bench."""
    (tmp_path / "data").mkdir()
    for package, lr in (("first_one", 0.1), ("other", 0.2)):
        folder = tmp_path / "src" / package
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "settings.py").write_text(SETTINGS.format(name=package, lr=lr))
        (tmp_path / f"data/{package}s.sha256").write_text(f"{'0' * 64}  file\n")
        for module in (package, f"{package}.settings"):
            monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path / "src")
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setattr(receipt, "ROOT", tmp_path)
    monkeypatch.setattr(project, "name", lambda: "first_one")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """From the oldest: one of before there were two projects, two of this project, one of the other."""
    home = tmp_path / "runs"
    write_run(home, 0)
    for number, named in enumerate([project.name(), project.name(), "other"], start=1):
        write_run(home, number, project=named)
    return home


def test_a_command_takes_unasked_only_runs_of_the_project(runs: Path) -> None:
    assert [each.name for each in records.candidates(runs)] == [name(2), name(1), name(0)]
    assert Run.newest(runs).directory.name == name(2)


def test_a_table_of_several_projects_names_them_and_leaves_out_the_defaults_of_each(runs: Path) -> None:
    usual = flags.defaults(project.settings_class())
    settings = flags.defaults(project.settings_class("other")) | {"seed": 9}
    record = write_run(runs, 4, project="other", settings=settings)
    assert settings["lr"] != usual["lr"]
    one_project = list_runs.lines([record], usual)
    assert "project" not in one_project
    assert "seed=9" in one_project
    assert "lr=" not in one_project
    table = list_runs.lines(records.find(runs), usual).splitlines()
    assert {line.split()[1] for line in table if "abcd" in line} == {"-", project.name(), "other"}
    (part,) = selection.comparisons("project=other", selection.names([record], usual))
    assert selection.matching(records.find(runs), [part]) == [record, *records.find(runs)[1:2]]


def test_each_project_has_its_best_run(runs: Path) -> None:
    assert {each.name for each in records.best(records.find(runs))} == {name(0), name(1), name(3)}


def test_a_named_run_of_another_project_is_refused_with_the_remedy(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"of the project other, not of {project.name()}; give PROJECT=other"):
        Run.open(runs / name(3))
    monkeypatch.setattr(project, "name", lambda: "other")
    assert Run.open(runs / name(3)).name == name(3)
    assert Run.open(runs / name(0)).name == name(0)


def test_what_only_another_project_needs_is_no_input_and_is_not_fetched_unasked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.others() == ["other"]
    assert project.datasets_of_others() == {"others"}
    assert not [name for name in receipt.sources() if name.startswith("src/other/")]
    assert "src/first_one/settings.py" in receipt.sources()
    fetched: list[str] = []

    def fetch_dataset(name: str) -> bool:
        fetched.append(name)
        return False

    monkeypatch.setattr(fetch, "fetch_dataset", fetch_dataset)
    monkeypatch.setattr(versions, "dataset_names", lambda: ["first_ones", "others"])
    monkeypatch.setattr(versions, "load_version", lambda _: versions.Version("", {}))
    fetch.main([])
    assert fetched == ["first_ones"]
    fetch.main(["--dataset", "others"])
    assert fetched == ["first_ones", "others"]
    assert [each.name for each in doctor.data(tmp_path)] == ["data first_ones"]
    capsys.readouterr()
