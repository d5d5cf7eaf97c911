"""The training side. The data are a data/NAME/table.csv with a line of names; `synthetic` is made, and not stored."""

from typing import Any

from torch import nn

from samebench.tasks.table.regression import TableRegression
from samebench.training.task import Spec


class Regression(TableRegression):
    """A number from the other columns of its row."""

    target = "value"  # the column that is predicted

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """Two layers. ReLU keeps the same bits on every machine: see docs/same-bits.md."""
        return nn.Sequential(nn.Linear(self.features(spec), settings.width), nn.ReLU(), nn.Linear(settings.width, 1))


TASK = Regression()
