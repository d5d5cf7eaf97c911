from pathlib import Path

import pytest
import torch
from PIL import Image

from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.tasks.image_classification.evaluation import class_figures
from samebench.tasks.image_classification.inspection import confusion
from samebench.training import train
from tests.commands import call
from tiny import data
from tiny.settings import Settings


def test_figures_are_precision_recall_and_f1() -> None:
    matrix = confusion(torch.tensor([0, 0, 0, 1, 1]), torch.tensor([0, 0, 1, 1, 1]), categories=3)
    assert matrix.tolist() == [[2, 1, 0], [0, 2, 0], [0, 0, 0]]
    expected = [(1.0, 2 / 3, 0.8), (2 / 3, 1.0, 0.8), (0.0, 0.0, 0.0)]
    for got, wanted in zip(class_figures(matrix), expected, strict=True):
        assert got == pytest.approx(wanted)


def test_the_newest_done_run_is_told_and_drawn(tmp_path: Path) -> None:
    settings = Settings(data="synthetic", epochs=1, network="linear", batch_size=100, shards=2)
    run = train.train(settings, runs=tmp_path / "runs")
    (tmp_path / "runs/99991231-235959-zzzz").mkdir()
    (tmp_path / "runs/99991231-235959-zzzz/receipt.json").write_text('{"state": "failed"}')
    done = call("-m", "samebench.training.evaluate", "--data", "synthetic", at=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(label in done.stdout for label in data.LABELS)
    assert f": accuracy {run.receipt['metrics']['test']['accuracy']:.2%}, loss " in done.stdout
    assert " on 200 test examples\n" in done.stdout
    with Image.open(run.directory / "confusion.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 600
    done = call("-m", "samebench.training.evaluate", at=tmp_path)
    said = "error: runs: no run in state done on other data than synthetic; train first, or name a run\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_run_that_is_not_there_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("-m", "samebench.training.evaluate", "--run", "runs/none", at=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: runs/none: no run with a receipt there; take one of runs/, or train first\n"


def test_a_run_that_was_interrupted_is_to_be_finished_first(tmp_path: Path) -> None:
    run = Run.start(tmp_path / "runs", settings={})
    run.record(state="interrupted")
    run.release()
    done = call("-m", "samebench.training.evaluate", "--run", f"runs/{run.name}", at=tmp_path)
    remedy = f"interrupted; finish it first: make train RESUME=runs/{run.name}"
    assert (done.returncode, done.stderr) == (2, f"error: runs/{run.name}: {remedy}\n")


def test_no_run_that_is_done_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run in state done"):
        Run.newest(tmp_path, state="done")


def test_a_receipt_that_is_not_json_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text("{")
    with pytest.raises(UsageError, match=r"receipt\.json: not JSON"):
        Run.open(tmp_path)
