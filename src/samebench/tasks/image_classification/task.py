"""Image classification: an image in, the probability of each class out."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.core.command import UsageError
from samebench.project import Metric
from samebench.tasks.image_classification import training_figures
from samebench.tasks.image_classification.augmentation import augment
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training.task import Batch, Dataset, Predictions, SampleRandom, Spec, Task


class ImageClassification(Task):
    """Its spec: `labels`, `mean` and `deviation` of the training pixels, and the transform's facts.

    The settings of a project have `network` and `label_smoothing`. A network is a sequence that ends in its head, a
    linear layer with a row for each label.
    """

    metrics = (Metric("accuracy", format=".2%"), Metric("loss", higher_is_better=False))
    transforms: tuple[type[ImageTransform], ...] = ()  # beside the plain one

    @abstractmethod
    def make_network(self, name: str, *, channels: int, side: int, classes: int) -> nn.Module:
        """The network of this name, for images (N, channels, side, side), with logits (N, classes)."""

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """See Task."""
        transform = self.transform(spec)
        network = self.make_network(
            settings.network, channels=transform.channels, side=transform.side, classes=len(spec["labels"])
        )
        return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def transform(self, spec: Spec) -> ImageTransform:
        """How an image becomes pixels. Raises ValueError for an impossible spec."""
        return ImageTransform.from_dict(spec, *self.transforms)

    def augment(self, batch: Batch, random: SampleRandom, spec: Spec) -> Batch:
        """Flipped by a coin and shifted by a pixel."""
        images = augment(batch["images"], random, blank=self.transform(spec).shifted_in)
        return {**batch, "images": images}

    def preprocess(self, batch: Batch, spec: Spec) -> tuple[Tensor, ...]:
        """Normalised images; grey ones may lack their channel."""
        images = batch["images"]
        images = images if images.ndim == 4 else images.unsqueeze(1)
        return (Preprocessing.from_dict(spec, channels=images.shape[1])(images),)

    def loss(self, outputs: Tensor, batch: Batch, settings: Any) -> tuple[Tensor, Tensor]:
        """Cross-entropy with smoothed labels, each example with the weight 1."""
        smoothing = settings.label_smoothing
        total = functional.cross_entropy(outputs.float(), batch["labels"], label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(float(len(outputs)), device=total.device)

    def postprocess(self, outputs: Tensor, spec: Spec) -> dict[str, Tensor]:
        """Probabilities (N, classes), with the spec's `temperature`, if it has one."""
        return {"probabilities": functional.softmax(outputs / spec.get("temperature", 1.0), dim=1)}

    def metric_sums(self, predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
        """Right answers, and losses without smoothing."""
        probabilities, labels = predictions["probabilities"], batch["labels"]
        losses = functional.nll_loss(probabilities.clamp_min(1e-12).log(), labels, reduction="none")
        right = (probabilities.argmax(1) == labels).double()
        return {"accuracy": right.sum(), "loss": losses.double().sum()}

    def compute_metrics(self, sums: Mapping[str, float], count: int) -> Mapping[str, float]:
        """The mean of each."""
        return {name: value / count for name, value in sums.items()}

    def draw_figures(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> Mapping[str, bytes]:
        """The confusion matrix and the worst mistakes."""
        assert isinstance(dataset, Split)
        return training_figures.draw(dataset, predictions["probabilities"], spec["labels"])

    def adopt_spec(self, spec: Spec, initial: Spec) -> Spec:
        """The statistics come with the weights."""
        return {**spec, "mean": initial["mean"], "deviation": initial["deviation"]}

    def check_spec(self, spec: Mapping[str, Any]) -> Spec:
        """Labels, statistics and transform. Raises LookupError, TypeError or ValueError for impossible ones."""
        labels = spec["labels"]
        if not isinstance(labels, list) or not labels or len(set(map(str, labels))) < len(labels):
            raise ValueError("its labels are no list of different texts")
        transform = self.transform(spec)
        statistics = Preprocessing.from_dict(spec, channels=transform.channels)
        return {"labels": list(map(str, labels)), **statistics.to_dict(), **transform.to_dict()}

    def check_initial(self, settings: Any, spec: Spec, other_settings: Any, other_spec: Spec) -> None:
        """The same network, for images of the same shape."""
        super().check_initial(settings, spec, other_settings, other_spec)
        theirs, wanted = (self.transform(each).shape for each in (other_spec, spec))
        if theirs != wanted:
            shapes = [("x".join(map(str, shape))) for shape in (theirs, wanted)]
            raise UsageError(f"it takes images of {shapes[0]}, the data's are {shapes[1]}; start from another model")

    @torch.no_grad()
    def load_pretrained(self, model_network: nn.Module, spec: Spec, other: nn.Module, other_spec: Spec) -> str:
        """All layers but the head, and of the head the rows of the labels that both have; the other rows stay."""
        if any(spec[name] != other_spec[name] for name in ("mean", "deviation")):
            raise UsageError("weights without the statistics that they were trained with; both must come along")
        own_body, own_head = _split_head(model_network)
        body, head = _split_head(other)
        own_body.load_state_dict(body.state_dict())
        labels, theirs = list(spec["labels"]), list(other_spec["labels"])
        rows = [(row, theirs.index(label)) for row, label in enumerate(labels) if label in theirs]
        for ours, other_parameter in zip(own_head.parameters(), head.parameters(), strict=True):
            for row, place in rows:
                ours[row].copy_(other_parameter[place])
        return f"with its mean and deviation, and of its head the rows of {len(rows)} of {len(labels)} labels"


def _split_head(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    *body, head = network.children()
    return nn.Sequential(*body), head
