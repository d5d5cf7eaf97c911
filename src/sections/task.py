"""The training side: two networks on the words of a synopsis."""

from typing import Any

from torch import nn

from samebench.tasks.text_classification.task import TextClassification, WordNetwork
from samebench.tasks.text_classification.text_data import TextData
from samebench.training.task import Spec
from sections import data


class Sections(TextClassification):
    """The section of a package by its synopsis."""

    def load_data(self, name: str) -> TextData:
        """See data.load."""
        return data.load(name)

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """See Task."""
        windows = {"bag": 0, "conv": 2 * settings.width}[settings.network]
        return WordNetwork(buckets=spec["buckets"], width=settings.width, windows=windows, classes=len(spec["labels"]))


TASK = Sections()
