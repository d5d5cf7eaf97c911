"""Networks and models of the tiny project, untrained, as the tests ask for them."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training.model import Model, build_network
from tiny.data import LABELS, PLAIN
from tiny.settings import Network, Settings
from tiny.task import TASK

EVEN = Preprocessing(0.5, 0.5)


def make_spec(labels: Sequence[str], statistics: Preprocessing, transform: ImageTransform) -> dict[str, object]:
    return {"labels": list(labels), **statistics.to_dict(), **transform.to_dict()}


def make_network(
    name: Network, *, seed: int, labels: Sequence[str] = LABELS, transform: ImageTransform = PLAIN
) -> nn.Module:
    settings = Settings(network=name, seed=seed)
    return build_network(TASK, settings, make_spec(labels, EVEN, transform))


def make_model(
    name: Network,
    network: nn.Module,
    labels: Sequence[str],
    statistics: Preprocessing,
    transform: ImageTransform = PLAIN,
) -> Model:
    return Model(TASK, Settings(network=name), network, make_spec(labels, statistics, transform))


def probabilities(model: Model, images: Tensor) -> Tensor:
    return model.predict({"images": images})["probabilities"]


def split_head(network: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    """All layers but the last, and the last."""
    *body, head = network.children()
    assert isinstance(head, nn.Linear)
    return nn.Sequential(*body), head


def change_labels(model: Model, labels: Sequence[str]) -> Model:
    """A model of these weights that calls its classes otherwise."""
    network = copy.deepcopy(model.network)
    del network.__dict__["spec"]
    return replace(model, network=network, spec={**model.spec, "labels": list(labels)})
