import json
from pathlib import Path

import pytest
import torch

from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training.model import Model, batches_of
from tiny import data, networks
from tiny.settings import Network

from .models import make_model, make_network, probabilities


@pytest.fixture
def model() -> Model:
    known = data.synthetic(0, training=24, test=10)
    preprocessing = Preprocessing.of(known.training.images)
    return make_model("conv", make_network("conv", seed=0), data.LABELS, preprocessing)


def test_a_saved_model_predicts_the_same_bits(model: Model, tmp_path: Path) -> None:
    images = data.synthetic(1, training=24, test=10).test().images
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    assert torch.equal(probabilities(again, images), probabilities(model, images))
    assert again.spec["labels"] == list(data.LABELS)


def test_fewer_examples_are_asked_about_at_a_time_where_they_are_large() -> None:
    for shape, sizes in (((1, 28, 28), [1000, 1000, 500]), ((3, 224, 224), [55] * 45 + [25])):
        images = torch.zeros(1, dtype=torch.uint8).expand(2500, *shape)
        batches = batches_of(Split(images, torch.zeros(2500, dtype=torch.int64)))
        assert [len(each) for each in batches] == sizes
        assert torch.equal(torch.cat(batches), torch.arange(2500))


def test_predictions_are_probabilities(model: Model) -> None:
    answers = probabilities(model, data.synthetic(0, training=24, test=10).test().images)
    assert answers.shape == (10, 10)
    torch.testing.assert_close(answers.sum(1), torch.ones(10))


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
    with pytest.raises(UsageError, match=r"model\.safetensors: damaged"):
        Model.load(path)


def in_colour() -> tuple[torch.Tensor, Model]:
    """Images of a set of colours, and a model that was trained with their statistics."""
    images = torch.randint(0, 256, (20, 3, 12, 12), dtype=torch.uint8, generator=torch.manual_seed(0))
    images[:, 1] //= 3
    preparation, labels = ImageTransform(12, 3), ("a", "b", "c")
    network = make_network("conv", seed=0, labels=labels, transform=preparation)
    return images, make_model("conv", network, labels, Preprocessing.of(images), preparation)


def test_a_model_of_colours_comes_back_with_its_statistics_and_its_preparation(tmp_path: Path) -> None:
    images, model = in_colour()
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path / "model.safetensors")
    assert again.spec == model.spec
    assert torch.equal(probabilities(again, images), probabilities(model, images))
    assert probabilities(again, images).shape == (20, 3)


def test_each_channel_becomes_mean_zero_and_deviation_one() -> None:
    images, model = in_colour()
    (scaled,) = model.task.preprocess({"images": images}, model.spec)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("side", [8, 9, 15, 28, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_network_takes_every_size_of_picture_and_number_of_categories(
    name: Network, side: int, channels: int
) -> None:
    network = make_network(name, seed=0, labels=("a", "b"), transform=ImageTransform(side, channels))
    logits = network(torch.rand(4, channels, side, side))
    assert logits.shape == (4, 2)
    logits.sum().backward()
    assert all(each.grad is not None for each in network.parameters())


def test_pixels_become_mean_zero_and_deviation_one() -> None:
    images = data.synthetic(0, training=24, test=10).training.images
    scaled = Preprocessing.of(images)(images)
    torch.testing.assert_close(scaled.mean(), torch.tensor(0.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_the_seed_alone_decides_the_first_weights(name: Network) -> None:
    first, again, other = (make_network(name, seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_finite_numbers_are_refused(model: Model, tmp_path: Path, value: float) -> None:
    tensors = dict(model.network.state_dict())
    name = next(iter(tensors))
    tensors[name] = torch.full_like(tensors[name], value)
    path = tmp_path / "model.safetensors"
    path.write_bytes(checked_safetensors.dumps("model", tensors, model.to_dict()))
    with pytest.raises(UsageError, match=f"{name} has values that are no finite numbers"):
        Model.load(path)
