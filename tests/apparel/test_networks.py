"""The networks of the pilot: they learn, any number of workers gives the same weights, and they take any picture."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from apparel import data
from apparel.networks import NETWORKS
from apparel.serving.garment import GARMENTS, transform_from_dict
from apparel.settings import Network, Settings
from apparel.task import TASK
from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.training import train
from samebench.training.model import Model, build_network

EVERY = pytest.mark.parametrize("network", NETWORKS)
QUICK = Settings(data="tiny", epochs=1, batch_size=32, shards=8)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.synthetic(0, training=144, test=40)
    monkeypatch.setattr(data, "load", lambda _: images)


@EVERY
def test_any_number_of_workers_gives_the_same_weights_on_any_machine(network: Network, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, network=network)
    receipts = [train.train(settings, runs=tmp_path, threads=count).receipt for count in (1, 2, 8)]
    assert len({receipt["weights_sha256"] for receipt in receipts}) == 1
    assert {receipt["same_bits"] for receipt in receipts} == {"any x86-64"}


def test_the_synthetic_set_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = data.synthetic(0, training=600, test=100)
    monkeypatch.setattr(data, "load", lambda _: images)
    run = train.train(dataclasses.replace(QUICK, epochs=4, lr=0.1), runs=tmp_path)
    assert run.receipt["metrics"]["test"]["accuracy"] > 0.9


@EVERY
@pytest.mark.parametrize("side", [8, 9, 15, 28, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_takes_every_size_of_picture_and_number_of_categories(
    network: Network, side: int, channels: int
) -> None:
    spec = {"labels": ["a", "b"], **ImageTransform(side, channels).to_dict()}
    built = build_network(TASK, Settings(network=network), spec)
    logits = built(torch.rand(4, channels, side, side))
    assert logits.shape == (4, 2)
    logits.sum().backward()
    assert all(each.grad is not None for each in built.parameters())


def first_edition(path: Path, **changes: Any) -> Model:
    """A model as it was saved before there were preparations."""
    spec = data.load("tiny").spec
    facts = {"network": "conv", **{name: spec[name] for name in ("labels", "mean", "deviation")}, **changes}
    facts = {name: value for name, value in facts.items() if value is not None}
    path.write_bytes(checked_safetensors.dumps("model", build_network(TASK, QUICK, spec).state_dict(), facts))
    return Model.load(path)


def test_a_model_saved_before_there_were_preparations_is_one_of_garments(tmp_path: Path) -> None:
    model = first_edition(tmp_path / "old.safetensors")
    assert model.spec == data.load("tiny").spec
    assert transform_from_dict(model.spec) == GARMENTS
    assert isinstance(model.spec["mean"], float)


FORGED: list[dict[str, Any]] = [
    {"network": "__import__('os').system"},
    {"network": None},
    {"labels": None},
    {"labels": ["a"] * 1_000_000},
    {"mean": "nan"},
    {"mean": [0.5, 0.5]},
    {"side": 1 << 40},
    {"preparation": "__import__('os').system"},
]


@pytest.mark.parametrize("change", FORGED, ids=lambda change: next(iter(change)))
def test_a_forged_one_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"old\.safetensors: "):
        first_edition(tmp_path / "old.safetensors", **change)
