"""Runs of two projects in one folder."""

from pathlib import Path

import pytest

from samebench import project
from samebench.core.command import UsageError
from samebench.runs import records
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


def test_each_project_has_its_best_run(runs: Path) -> None:
    assert {each.name for each in records.best(records.find(runs))} == {name(0), name(1), name(3)}


def test_a_named_run_of_another_project_is_refused_with_the_remedy(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"of the project other, not of {project.name()}; give PROJECT=other"):
        Run.open(runs / name(3))
    monkeypatch.setattr(project, "name", lambda: "other")
    assert Run.open(runs / name(3)).name == name(3)
    assert Run.open(runs / name(0)).name == name(0)
