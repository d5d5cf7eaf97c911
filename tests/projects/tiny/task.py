"""See samebench.training.task."""

from typing import Any

from torch import nn

from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.task import ImageClassification
from tiny import data
from tiny.networks import NETWORKS


class Tiny(ImageClassification):
    """The class of a small image."""

    default_side = 28

    def load_data(self, name: str) -> Data:
        """See data.load."""
        return data.load(name)

    def make_network(self, settings: Any, *, channels: int, side: int, classes: int) -> nn.Module:
        """One of networks.py."""
        return NETWORKS[settings.network](channels, side, classes)


TASK = Tiny()
