"""A training that is stopped at a step of our choice."""

import signal
from pathlib import Path

import pytest
from torch import Tensor

from samebench.core.command import Interrupted
from samebench.runs.run import Run
from samebench.settings import TrainingSettings
from samebench.training import train
from samebench.training.loop import Training


def interrupt(
    runs: Path, monkeypatch: pytest.MonkeyPatch, *, at: int, settings: TrainingSettings, run: Run | None = None
) -> Run:
    """A run, new or resumed, that SIGTERM has stopped after step `at`."""
    learn = Training.step

    def step(training: Training, batch: Tensor) -> Tensor:
        if training.steps_done == at - 1:
            signal.raise_signal(signal.SIGTERM)
        return learn(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            train.train(settings, runs=runs, run=run)
    return Run.newest(runs)
