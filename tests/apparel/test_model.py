import json
from pathlib import Path

import pytest
import torch

from apparel import data, networks
from apparel.model import Model, Preprocessing
from samebench.command import Refusal


@pytest.fixture
def model() -> Model:
    known = data.synthetic(0, training=24, test=10)
    preprocessing = Preprocessing.of(known.training.images)
    return Model("conv", networks.make("conv", seed=0), data.LABELS, preprocessing)


def test_a_saved_model_predicts_the_same_bits(model: Model, tmp_path: Path) -> None:
    images = data.synthetic(1, training=24, test=10).test().images
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    assert torch.equal(again.predict(images), model.predict(images))
    assert again.labels == data.LABELS


def test_predictions_are_probabilities(model: Model) -> None:
    probabilities = model.predict(data.synthetic(0, training=24, test=10).test().images)
    assert probabilities.shape == (10, 10)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(10))


def test_the_digest_is_that_of_the_tensors_and_not_of_the_file(model: Model, tmp_path: Path) -> None:
    for name in ("model.safetensors", "other.safetensors"):
        model.save(tmp_path / name)
        assert Model.load(tmp_path / name).digest() == model.digest()
    next(model.network.parameters()).data.view(-1)[0] += 1e-3
    assert Model.load(tmp_path / "model.safetensors").digest() != model.digest()


@pytest.mark.parametrize("place", [0, 30, 85, 1000, -1])
def test_a_flipped_bit_is_found_before_parsing(
    place: int, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    model.save(path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("parsed a damaged file"))
    with pytest.raises(Refusal, match=r"model\.safetensors: damaged"):
        Model.load(path)


def test_pixels_become_mean_zero_and_deviation_one() -> None:
    images = data.synthetic(0, training=24, test=10).training.images
    scaled = Preprocessing.of(images)(images)
    torch.testing.assert_close(scaled.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_seed_alone_decides_the_first_weights(name: networks.Name) -> None:
    first, again, other = (networks.make(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)
