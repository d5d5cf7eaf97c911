"""What every classifier is measured by, and what it answers: the probability of each class."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional

from samebench.project import Metric
from samebench.training.task import Batch, Predictions, Spec, Task


class Classification(Task):
    """A batch has `labels` (N,), the predictions have `probabilities` (N, classes), and the spec has `labels`."""

    metrics = (Metric("accuracy", format=".2%"), Metric("loss", higher_is_better=False))

    def postprocess(self, outputs: Tensor, spec: Spec) -> dict[str, Tensor]:
        """Probabilities (N, classes), with the spec's `temperature`, if it has one."""
        return {"probabilities": functional.softmax(outputs / spec.get("temperature", 1.0), dim=1)}

    def example_values(self, predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
        """Whether each example is right, and its loss without smoothing or weights."""
        probabilities, labels = predictions["probabilities"], batch["labels"]
        losses = functional.nll_loss(probabilities.clamp_min(1e-12).log(), labels, reduction="none")
        return {"accuracy": probabilities.argmax(1) == labels, "loss": losses}
