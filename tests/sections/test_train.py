"""The bench's promises for a text classifier: the same weights, whoever computes them and whatever is killed."""

import dataclasses
from pathlib import Path

import pytest
import torch

from samebench import project
from samebench.core.command import UsageError
from samebench.training import checkpoint, train
from samebench.training.model import Model
from samebench.training.task import SampleRandom
from sections import data
from sections.settings import Network, Settings
from sections.task import TASK

QUICK = Settings(data="synthetic", epochs=2, batch_size=64, width=16)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Those of an undisturbed training."""
    result = train.train(QUICK, runs=tmp_path_factory.mktemp("undisturbed"), threads=2).receipt
    assert result["metrics"]["validation"].keys() == result["metrics"]["test"].keys() == {"accuracy", "loss"}
    assert result["metrics"]["test"]["accuracy"] > 0.9
    return str(result["weights_sha256"])


@pytest.mark.parametrize("threads", [1, 4])
def test_any_number_of_threads_gives_the_same_weights(threads: int, weights: str, tmp_path: Path) -> None:
    assert train.train(QUICK, runs=tmp_path, threads=threads).receipt["weights_sha256"] == weights


def test_a_checkpoint_without_the_metrics_of_the_task_is_refused(tmp_path: Path) -> None:
    run = train.train(dataclasses.replace(QUICK, epochs=1), runs=tmp_path)
    kept = checkpoint.load_newest(run)
    assert kept
    history = [{name: value for name, value in kept.history[0].items() if name != "validation_accuracy"}]
    checkpoint.save(run, dataclasses.replace(kept, history=history, step=99))
    run.record(history=history)
    with pytest.raises(UsageError, match="a checkpoint of other code"):
        train.train(QUICK, run=run)


def test_rare_sections_count_more_in_the_loss() -> None:
    batch = data.load("synthetic").training.get_batch(torch.arange(50))
    outputs = torch.zeros(50, 5)
    outputs[:, 0] = 1
    means = {}
    for rare_weight in (0.0, 0.5, 1.0):
        total, weight = TASK.loss(outputs, batch, Settings(rare_weight=rare_weight), {})
        means[rare_weight] = float(total / weight)
    assert float(TASK.loss(outputs, batch, Settings(rare_weight=0), {})[1]) == 50
    assert means[0.0] < means[0.5] < means[1.0]


def test_words_are_left_out_by_example_and_epoch_alone() -> None:
    training, spec = data.load("synthetic").training, data.load("synthetic").spec
    batch = training.get_batch(torch.arange(100))
    once, again, later = (
        TASK.augment(batch, SampleRandom(0, epoch, torch.arange(100)), spec)["tokens"] for epoch in (1, 1, 2)
    )
    assert once.equal(again)
    assert not once.equal(later)
    assert 0 < int(((once == 0) & (batch["tokens"] != 0)).sum()) < 400
    part = TASK.augment(training.get_batch(torch.arange(40, 60)), SampleRandom(0, 1, torch.arange(40, 60)), spec)
    assert part["tokens"].equal(once[40:60])


@pytest.mark.parametrize("network", ["bag", "conv"])
def test_padding_changes_no_answer(network: Network, tmp_path: Path) -> None:
    run = train.train(dataclasses.replace(QUICK, network=network, epochs=1), runs=tmp_path)
    model = Model.of_run(run)
    tokens = data.load("synthetic").validation["tokens"][:20]
    assert (tokens[:, 8:] == 0).all()
    short, long = (model.predict({"tokens": each})["probabilities"] for each in (tokens[:, :8], tokens))
    assert torch.allclose(short, long, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": []},
        {"labels": ["a", "a"]},
        {"labels": ["\x1b[2J"]},
        {"buckets": 0},
        {"buckets": 1 << 40},
        {"length": ""},
    ],
    ids=str,
)
def test_an_impossible_spec_is_refused(change: dict[str, object]) -> None:
    spec = {"labels": ["admin", "libs"], "buckets": 100, "length": 8}
    assert TASK.check_spec(spec) == spec
    with pytest.raises((LookupError, TypeError, ValueError)):
        TASK.check_spec(spec | change)


def test_a_model_of_another_project_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train.train(dataclasses.replace(QUICK, epochs=1), runs=tmp_path)
    assert run.receipt["project"] == run.receipt["model"]["project"] == "sections"
    monkeypatch.setattr(project, "name", lambda: "tiny")
    with pytest.raises(UsageError, match=r"not a model of this code \(of the project sections, not of tiny"):
        Model.load(run.weights)
