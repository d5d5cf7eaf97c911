"""A run to start others from, and trainings that start from it, on other pictures."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from samebench.runs import receipt
from samebench.runs.run import Run
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.training import train
from samebench.training.loop import Training
from samebench.training.model import Model
from tests.samebench import interrupted
from tiny import data
from tiny.settings import Settings

from .models import change_labels

QUICK = Settings(data="bright", epochs=2, batch_size=32, shards=2, network="conv", lr=0.05)
BRIGHT = data.synthetic(0, training=144, test=40)


def darker(split: Split) -> Split:
    return Split(split.images // 3, split.labels)


# Other pictures, with a third of the mean and of the deviation.
DARK = Data(
    darker(data.synthetic(1, training=144, test=40).training),
    darker(BRIGHT.test()),
    labels=BRIGHT.labels,
    preparation=BRIGHT.preparation,
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the bright pictures, to start others from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda _: BRIGHT)
        return train.train(QUICK, runs=tmp_path_factory.mktemp("first"))


@pytest.fixture(autouse=True)
def dark(monkeypatch: pytest.MonkeyPatch) -> None:
    """What all others are trained on."""
    monkeypatch.setattr(data, "load", lambda _: DARK)


@pytest.fixture
def settings(first: Run) -> Settings:
    """Those of a training that starts from it."""
    return dataclasses.replace(QUICK, data="dark", init=str(first.directory))


def trained(settings: Settings, home: Path) -> dict[str, Any]:
    """The receipt of a training, as it stands in its file."""
    return receipt.read(train.train(settings, runs=home).directory / "receipt.json")


def begun(settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch) -> Training:
    """A training before its first step."""
    seen: list[Training] = []
    with monkeypatch.context() as patch:
        patch.setattr(Training, "fit", lambda training, _: seen.append(training))
        train.train(settings, runs=home)
    return seen[0]


def interrupt(settings: Settings, home: Path, monkeypatch: pytest.MonkeyPatch, *, at: int) -> Run:
    """A run, alone in a folder of `home`, that SIGTERM has stopped after step `at`."""
    return interrupted.interrupt(home / "interrupted", monkeypatch, at=at, settings=settings)


def relabelled(first: Run, folder: Path, labels: tuple[str, ...]) -> Path:
    """The model of `first` as if its categories had other names."""
    path = folder / "relabelled.safetensors"
    change_labels(Model.load(first.weights), labels).save(path)
    return path
