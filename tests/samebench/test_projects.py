"""Runs of two projects in one folder."""

from pathlib import Path

import pytest

from samebench import project
from samebench.core import flags
from samebench.core.command import UsageError
from samebench.data import fetch
from samebench.environment import doctor
from samebench.runs import list_runs, receipt, records, selection
from samebench.runs.run import Run

from .recorded import name, write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """From the oldest: one of before there were two projects, two of this project, one of the other."""
    write_run(tmp_path, 0)
    for number, named in enumerate([project.name(), project.name(), "other"], start=1):
        write_run(tmp_path, number, project=named)
    return tmp_path


def test_a_command_takes_unasked_only_runs_of_the_project(runs: Path) -> None:
    assert [each.name for each in records.candidates(runs)] == [name(2), name(1), name(0)]
    assert Run.newest(runs).directory.name == name(2)


def test_a_table_of_several_projects_names_them_and_leaves_out_the_defaults_of_each(runs: Path) -> None:
    usual = flags.defaults(project.settings_class())
    settings = flags.defaults(project.settings_class("sections")) | {"seed": 9}
    record = write_run(runs, 4, project="sections", settings=settings)
    assert settings["lr"] != usual["lr"]
    one_project = list_runs.lines([record], usual)
    assert "project" not in one_project
    assert "seed=9" in one_project
    assert "lr=" not in one_project
    table = list_runs.lines(records.find(runs), usual).splitlines()
    assert {line.split()[1] for line in table if "abcd" in line} == {"-", project.name(), "other", "sections"}
    (part,) = selection.comparisons("project=sections", selection.names([record], usual))
    assert selection.matching(records.find(runs), [part]) == [record]


def test_each_project_has_its_best_run(runs: Path) -> None:
    assert {each.name for each in records.best(records.find(runs))} == {name(0), name(1), name(3)}


def test_a_named_run_of_another_project_is_refused_with_the_remedy(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"of the project other, not of {project.name()}; give PROJECT=other"):
        Run.open(runs / name(3))
    monkeypatch.setattr(project, "name", lambda: "other")
    assert Run.open(runs / name(3)).name == name(3)
    assert Run.open(runs / name(0)).name == name(0)


def test_what_only_another_project_needs_is_no_input_and_is_not_fetched_unasked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert project.others() == ["sections"]
    assert project.datasets_of_others() == {"debian-bookworm"}
    assert not [name for name in receipt.sources() if name.startswith("src/sections/")]
    fetched: list[str] = []

    def fetch_dataset(name: str) -> bool:
        fetched.append(name)
        return False

    monkeypatch.setattr(fetch, "fetch_dataset", fetch_dataset)
    fetch.main([])
    assert fetched == ["fashion-mnist"]
    fetch.main(["--dataset", "debian-bookworm"])
    assert fetched == ["fashion-mnist", "debian-bookworm"]
    assert not [each for each in doctor.data() if each.name == "data debian-bookworm" and each.status != "ok"]
    capsys.readouterr()
