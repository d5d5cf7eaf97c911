"""The pilot's training side: Fashion-MNIST, or a team's own images, and three networks."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from apparel import data
from apparel.networks import NETWORKS
from apparel.serving.garment import GARMENTS, SIDE, GarmentTransform, transform_from_dict
from apparel.sources import NAME
from samebench.data.diff import Example
from samebench.tasks.image_classification.card import Words
from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.task import ImageClassification
from samebench.training.task import Spec

GARMENT_WORDS = Words(
    title="Apparel classifier",
    of=" of one garment",
    use="It is for sorting\na catalogue under a person's eye; nothing about a person follows from its answer.",
    seen="single garments on a plain background: no people, no scenes, no heaps of clothes",
    limits="what is no garment gets one of them too, a letter or a disc with confidence",
    photos="photos are prepared by the server and are harder",
    pixels="a light garment on black",
)


class Apparel(ImageClassification):
    """Garments in ten categories, or any images in any."""

    card_words: ClassVar = {GARMENTS.name: GARMENT_WORDS}
    card_sources: ClassVar = {NAME: " (Xiao, Rasul and Vollgraf 2017: shop pictures of single garments)"}
    default_side = SIDE

    def load_data(self, name: str) -> Data:
        """See data.load."""
        return data.load(name)

    def example_reader(self, files: Collection[str]) -> Callable[[Path], list[Example]] | None:
        """Reads the four idx files, too."""
        return data.read_examples if any(each.endswith("-ubyte") for each in files) else super().example_reader(files)

    def make_network(self, settings: Any, *, channels: int, side: int, classes: int) -> nn.Module:
        """One of networks.py."""
        return NETWORKS[settings.network](channels, side, classes)

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
