"""The curves and the pictures of a run that was resumed: each epoch once."""

import re
import shlex
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samebench.tasks.image_classification import training_figures
from samebench.training import curves, train
from samebench.training.__main__ import parse_args

from .interrupts import QUICK, interrupt, tiny

__all__ = ["tiny"]  # fixtures

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1, 1)  # as far as its width and height


def test_its_curves_have_each_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train.train(QUICK, run=interrupt(tmp_path, monkeypatch, at=5))
    board = EventAccumulator(str(run.directory)).Reload()
    assert [event.step for event in board.Scalars("validation_loss")] == [1, 2]
    for name in ("confusion_matrix", "worst_mistakes"):
        assert [event.step for event in board.Images(name)] == [1, 2]


def test_the_learning_rate_is_a_curve_and_a_jump_by_other_epochs_is_told_with_a_way_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.train(QUICK, runs=tmp_path / "first")
    capsys.readouterr()
    train.train(replace(QUICK, epochs=6), run=run)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  learning rate: ")]
    board = EventAccumulator(str(run.directory)).Reload().Scalars("learning_rate")
    assert [event.step for event in board] == [1, 2, 3, 4, 5, 6]
    rates = [event.value for event in board]
    assert rates[2] > rates[1]  # the schedule of 2 epochs had ended
    before, after = (float(word) for word in re.findall(r"([\d.e-]+) (?:after step|now)", line))
    assert before == pytest.approx(rates[1], rel=1e-3)
    assert after > rates[2]

    words = dict(word.split("=", 1) for word in shlex.split(line.partition(": make train ")[2]))
    settings, *_ = parse_args(["--init", words["INIT"], *shlex.split(words["ARGS"])])
    other = replace(QUICK, epochs=4, lr=QUICK.lr / 10, init=words["INIT"])
    assert settings == other
    assert max(each["learning_rate"] for each in train.train(other, runs=tmp_path).receipt["history"]) <= other.lr


def test_pictures_of_epochs_that_come_again_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    for path in run.checkpoints.glob("step-*"):
        path.unlink()
    before = {step: pictures for step, _, pictures in curves.read(run.directory)}
    assert list(before) == [1]
    train.train(QUICK, run=run)
    after = [(step, pictures) for step, _, pictures in curves.read(run.directory)]
    assert [step for step, _ in after] == [1, 2]
    assert after[0][1] == before[1], "the same network draws the same pictures"


def test_pictures_of_epochs_that_are_done_are_those_of_the_earlier_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    monkeypatch.setattr(training_figures, "draw", lambda *_: {"confusion_matrix": PNG})
    ((_, _, before),) = curves.read(run.directory)
    train.train(QUICK, run=run)
    first, second = (shown for _, _, shown in curves.read(run.directory))
    assert first == before
    assert second == {"confusion_matrix": PNG}


def test_resuming_over_a_damaged_file_of_curves_loses_only_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    (path,) = run.directory.glob("events.*")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 100])
    train.train(QUICK, run=run)
    told = [(step, set(figures), set(shown)) for step, figures, shown in curves.read(run.directory)]
    assert [(step, bool(shown)) for step, _, shown in told] == [(1, False), (2, True)]
    assert all("validation_loss" in figures for _, figures, _ in told)
