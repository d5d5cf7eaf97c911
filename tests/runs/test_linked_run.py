"""Nothing is written through a link: neither a run's folder nor a file or folder in it may lead elsewhere."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.runs import notes, records
from samebench.runs.run import Run, sweep
from samebench.serving import export, onnx_export
from samebench.training import evaluate, train
from samebench.training.__main__ import main
from tiny.settings import Budgets, Settings

SMALL = Settings(data="synthetic", network="linear", epochs=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, in the folder of its checkout."""
    return train.train(SMALL, runs=tmp_path_factory.mktemp("trained")).directory


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, and a note for who adds one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTE", "why")


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


DATA = ["--data", "synthetic"]
COMMANDS: dict[str, Callable[[str], object]] = {
    "note": lambda run: notes.main(["--run", run]),
    "resume": lambda run: main(["--resume", run or "latest", "--epochs", "2"]),
    "evaluate": lambda run: evaluate.main(["--run", run, *DATA]),
    "export": lambda run: export.main(["--run", run, *DATA, "--max-latency-ms-p99", "10000"]),
}


@pytest.mark.parametrize("which", COMMANDS)
@pytest.mark.parametrize("prefix", ["runs/", ""])
def test_a_run_that_is_a_link_is_refused_in_a_line(trained: Path, tmp_path: Path, which: str, prefix: str) -> None:
    outside = shutil.copytree(trained, tmp_path / "outside")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / trained.name).symlink_to(outside)
    before = contents(outside)
    with pytest.raises(UsageError, match=f"^runs/{trained.name}: a symbolic link"):
        COMMANDS[which](f"{prefix}{trained.name}")
    assert contents(outside) == before


@pytest.mark.parametrize("which", COMMANDS)
def test_a_run_that_is_a_link_is_never_taken_unasked(trained: Path, tmp_path: Path, which: str) -> None:
    outside = shutil.copytree(trained, tmp_path / "outside")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/20991231-000000-zzzz").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(UsageError, match="no run"):
        COMMANDS[which]("")
    assert contents(outside) == before
    sweep(tmp_path / "runs")
    assert contents(outside) == before
    with pytest.raises(UsageError, match="a symbolic link"):
        Run(tmp_path / "runs/20991231-000000-zzzz", {}).acquire()
    assert records.find(tmp_path / "runs")[0].damage.startswith("a symbolic link")


INSIDE = {
    "receipt.json": ("note", "resume", "evaluate", "export"),
    "checkpoints": ("resume",),
    "artifact": ("export",),
    "confusion.png": ("evaluate",),
    "evaluation.json": ("evaluate",),
}


@pytest.mark.parametrize(("inside", "which"), [(inside, which) for inside in INSIDE for which in INSIDE[inside]])
def test_a_link_in_a_run_is_not_written_through(trained: Path, tmp_path: Path, inside: str, which: str) -> None:
    run = shutil.copytree(trained, tmp_path / "runs" / trained.name)
    (tmp_path / "outside").mkdir()
    if inside == "artifact":
        onnx_export.export(Run.open(run), Budgets(max_latency_ms_p99=10_000, min_validation_accuracy=0))
    if (run / inside).exists():
        (run / inside).rename(tmp_path / "outside" / inside)
    else:
        (tmp_path / "outside" / inside).touch()
    (run / inside).symlink_to(tmp_path / "outside" / inside)
    before = contents(tmp_path / "outside")
    with pytest.raises(UsageError, match=f"{inside}.*symbolic link") if which != "note" else nullcontext():
        COMMANDS[which](trained.name)
    assert contents(tmp_path / "outside") == before
    assert (run / inside).is_symlink()


def test_curves_behind_a_link_are_neither_read_nor_changed(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "runs" / trained.name)
    (curves,) = run.glob("events.*")
    curves.rename(tmp_path / curves.name)
    curves.symlink_to(tmp_path / curves.name)
    before = (tmp_path / curves.name).read_bytes()
    COMMANDS["resume"](trained.name)
    assert (tmp_path / curves.name).read_bytes() == before
    assert not [path for path in run.glob("events.*") if path.is_symlink()]
