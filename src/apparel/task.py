"""The pilot's training side: Fashion-MNIST, or a team's own images, and three networks."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from apparel import data
from apparel.networks import NETWORKS
from apparel.serve.garment import GarmentTransform, transform_from_dict
from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.task import ImageClassification
from samebench.training.task import Spec


class Apparel(ImageClassification):
    """Garments in ten categories, or any images in any."""

    def load_data(self, name: str) -> Data:
        """See data.load."""
        return data.load(name)

    def make_network(self, name: str, *, channels: int, side: int, classes: int) -> nn.Module:
        """One of networks.py."""
        return NETWORKS[name](channels, side, classes)

    def transform(self, spec: Spec) -> ImageTransform:
        """The plain one, or that for garments."""
        return transform_from_dict(spec)

    def read_first_edition(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """A model of the first edition: its metadata is flat, and without a preparation it knows garments."""
        spec = {name: metadata[name] for name in ("labels", "mean", "deviation")}
        garments = GarmentTransform().to_dict()
        spec |= {name: metadata.get(name, value) for name, value in garments.items()}
        return {"settings": {"network": metadata["network"]}, "spec": spec}


TASK = Apparel()
