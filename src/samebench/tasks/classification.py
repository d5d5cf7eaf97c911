"""What every classifier is measured by: how often it is right, and its loss."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from samebench.project import Metric
from samebench.training.task import Batch, Predictions

METRICS = (Metric("accuracy", format=".2%"), Metric("loss", higher_is_better=False))


def example_values(predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
    """Whether each example is right, and its loss without smoothing or weights.

    `predictions` have `probabilities` (N, classes), and the batch has `labels` (N,).
    """
    probabilities, labels = predictions["probabilities"], batch["labels"]
    losses = functional.nll_loss(probabilities.clamp_min(1e-12).log(), labels, reduction="none")
    return {"accuracy": probabilities.argmax(1) == labels, "loss": losses}
