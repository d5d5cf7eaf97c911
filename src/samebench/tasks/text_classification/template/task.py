"""The training side. The data are a data/NAME/texts.csv with the columns text,label; `synthetic` is made."""

from typing import Any

from torch import nn

from samebench.tasks.text_classification.task import TextClassification, WordNetwork
from samebench.training.task import Spec


class Texts(TextClassification):
    """The class of a text by its words."""

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """Words and windows of three of them."""
        width, classes = settings.width, len(spec["labels"])
        return WordNetwork(buckets=spec["buckets"], width=width, windows=2 * width, classes=classes)


TASK = Texts()
