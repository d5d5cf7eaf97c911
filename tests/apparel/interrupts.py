"""A small training that is interrupted, and one that nobody disturbed."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import Tensor

from apparel import data
from apparel.settings import Settings
from samebench.core.command import Interrupted
from samebench.runs.run import Run
from samebench.training import train
from samebench.training.loop import Training

QUICK = Settings(data="tiny", epochs=2, batch_size=32, shards=2, network="conv")
KNOWN = data.synthetic(0, training=144, test=40)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda _: KNOWN)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda _: KNOWN)
        yield train.train(QUICK, runs=tmp_path_factory.mktemp("undisturbed"))


def interrupt(
    runs: Path, monkeypatch: pytest.MonkeyPatch, *, at: int, settings: Settings = QUICK, run: Run | None = None
) -> Run:
    """A run, new or resumed, that SIGTERM has stopped after step `at`."""
    learn = Training.step

    def step(training: Training, batch: object) -> Tensor:
        if training.steps_done == at - 1:
            signal.raise_signal(signal.SIGTERM)
        return learn(training, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            train.train(settings, runs=runs, run=run)
    return Run.newest(runs)
