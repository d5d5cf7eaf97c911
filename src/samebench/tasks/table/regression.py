"""Regression on a table: a row in, a number out, measured by the root of the mean squared error."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from samebench.project import Metric
from samebench.tasks.table.columns import Columns
from samebench.tasks.table.table_data import TableData, load, statistics
from samebench.training.task import Batch, Predictions, Spec, Task


class TableRegression(Task):
    """Its spec: the columns, their statistics, and those of the target. A network gives one number (N, 1) a row."""

    metrics = (Metric("rmse", higher_is_better=False, format=".4g"),)
    target: str  # the column that is predicted

    def load_data(self, name: str) -> TableData:
        """See table_data.load."""
        return load(name, target=self.target)

    def features(self, spec: Spec) -> int:
        """How many numbers the network takes: one for each number, and one for each value of each category."""
        columns = Columns.from_dict(spec)
        return len(columns.numbers) + sum(map(len, columns.categories.values()))

    def preprocess(self, batch: Batch, spec: Spec) -> tuple[Tensor, ...]:
        """Features (N, F): normalised numbers, 0 for a missing one, and a 1 for the value of each category."""
        mean, deviation = (each.to(batch["numbers"].device) for each in statistics(spec))
        parts = [torch.nan_to_num((batch["numbers"] - mean) / deviation)]
        for place, values in enumerate(Columns.from_dict(spec).categories.values()):
            codes = torch.arange(len(values), device=batch["numbers"].device)
            parts.append((batch["categories"][:, place : place + 1] == codes).float())
        return (torch.cat(parts, dim=1),)

    def loss(self, outputs: Tensor, batch: Batch, settings: Any, spec: Spec) -> tuple[Tensor, Tensor]:
        """Half the squared error, in deviations of the target."""
        targets = (batch["values"] - spec["target_mean"]) / spec["target_deviation"]
        errors = functional.mse_loss(outputs.float().squeeze(1), targets, reduction="sum")
        return errors / 2, torch.tensor(float(len(outputs)), device=errors.device)

    def postprocess(self, outputs: Tensor, spec: Spec) -> dict[str, Tensor]:
        """`prediction` (N,), in units of the target."""
        return {"prediction": outputs.squeeze(1) * spec["target_deviation"] + spec["target_mean"]}

    def example_values(self, predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
        """The squared error."""
        return {"rmse": (predictions["prediction"].double() - batch["values"].double()) ** 2}

    def compute_metrics(self, sums: Mapping[str, float], count: int) -> Mapping[str, float]:
        """The root of the mean."""
        return {"rmse": math.sqrt(sums["rmse"] / count)}
