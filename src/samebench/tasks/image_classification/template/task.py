"""The training side. The data come of make data-import FROM=photos NAME=shoes; `synthetic` is made, and not stored."""

from torch import nn

from samebench.tasks.image_classification.image_data import Data, synthetic
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.task import ImageClassification


class Images(ImageClassification):
    """The class of an image."""

    def load_data(self, name: str) -> Data:
        """Imported images, or synthetic ones in three classes."""
        transform = ImageTransform(self.default_side, 1)
        return synthetic(["a", "b", "c"], transform) if name == "synthetic" else super().load_data(name)

    def make_network(self, settings: object, *, channels: int, side: int, classes: int) -> nn.Module:
        """Two convolutions. ReLU keeps the same bits on every machine: see docs/same-bits.md."""
        return nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()),
            nn.Linear(32 * (side // 16) ** 2, classes),
        )


TASK = Images()
