"""Image classification: an image in, the probability of each class out."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.core.command import UsageError
from samebench.data.diff import Example
from samebench.data.merge import Resolve
from samebench.environment import determinism
from samebench.tasks.classification import Classification
from samebench.tasks.image_classification import evaluation, image_dataset, merge_images, training_figures
from samebench.tasks.image_classification.augmentation import augment
from samebench.tasks.image_classification.card import Words
from samebench.tasks.image_classification.card import text as card_text
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.inspection import calibration, confusion
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.tasks.image_classification.temperature import MIN_IMAGES, calibrate
from samebench.training.task import Batch, Card, CardText, DataModule, Dataset, Predictions, SampleRandom, Spec


class ImageClassification(Classification):
    """Its spec: `labels`, `mean` and `deviation` of the training pixels, and the transform's facts.

    The settings of a project have `label_smoothing`. A network is a sequence that ends in its head, a
    linear layer with a row for each label.
    """

    transforms: tuple[type[ImageTransform], ...] = ()  # beside the plain one
    card_words: ClassVar[Mapping[str, Words]] = {}  # what a model card says of images, by the name of their transform
    card_sources: ClassVar[Mapping[str, str]] = {}  # and of a data set, by its name
    default_side: ClassVar[int] = 32  # pixels a side of the images that an import makes

    def load_data(self, name: str) -> Data:
        """The data set that `make data-import` has made. A project with published data looks for these first."""
        return image_dataset.load(name)

    def example_reader(self, files: Collection[str]) -> Callable[[Path], list[Example]] | None:
        """Reads the images of an imported set."""
        return image_dataset.read_examples if image_dataset.FILE in files else None

    def file_merger(self) -> Resolve:
        """Merges the images of imported sets, and finds the same suspicious ones as an import: at the CPU level."""
        determinism.reexecute(fast=False)
        determinism.pin()
        return merge_images.combine

    @abstractmethod
    def make_network(self, settings: Any, *, channels: int, side: int, classes: int) -> nn.Module:
        """The network for images (N, channels, side, side), with logits (N, classes)."""

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """See Task."""
        transform = self.transform(spec)
        network = self.make_network(
            settings, channels=transform.channels, side=transform.side, classes=len(spec["labels"])
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

    def loss(self, outputs: Tensor, batch: Batch, settings: Any, spec: Spec) -> tuple[Tensor, Tensor]:
        """Cross-entropy with smoothed labels, each example with the weight 1."""
        smoothing = settings.label_smoothing
        total = functional.cross_entropy(outputs.float(), batch["labels"], label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(float(len(outputs)), device=total.device)

    def draw_figures(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> Mapping[str, bytes]:
        """The confusion matrix and the worst mistakes."""
        assert isinstance(dataset, Split)
        return training_figures.draw(dataset, predictions["probabilities"], spec["labels"])

    def summarize(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> str:
        """Precision, recall and F1 of each class."""
        return evaluation.table(_confusion(predictions, dataset, spec), spec["labels"])

    def draw_summary(
        self, predictions: Predictions, dataset: Dataset, spec: Spec, *, title: str
    ) -> Mapping[str, bytes]:
        """The confusion matrix."""
        matrix = _confusion(predictions, dataset, spec)
        return {"confusion": evaluation.draw(matrix, spec["labels"], title=title)}

    def graph_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Images (N, C, H, W) uint8, grey ones without their channel."""
        images = batch["images"]
        return {"images": images.squeeze(1) if images.shape[1] == 1 else images}

    def finish_spec(self, outputs: Tensor, data: DataModule, spec: Spec) -> Spec:
        """With the temperature, the confidence below which an answer is doubted, and the levels of the pixels."""
        assert isinstance(data, Data)
        temperature, floor = calibrate(outputs, data.validation.labels)
        levels = data.training.levels()
        levels_spec: dict[str, Any] = {"levels": levels} if levels != [[0, 255]] * len(levels) else {}
        return {**spec, "temperature": temperature, "confidence_floor": floor, **levels_spec}

    def describe_outputs(self, outputs: Tensor, data: DataModule, spec: Spec) -> Mapping[str, float | str]:
        """How well confidences are calibrated, and why they are not if the images are too few."""
        assert isinstance(data, Data)
        labels, count = data.test().labels, len(data.validation)
        before, after = (calibration((outputs / by).softmax(1), labels).error for by in (1, spec["temperature"]))
        few = {"not_calibrated": f"{count} validation images, {MIN_IMAGES} needed"} if count < MIN_IMAGES else {}
        errors = {"calibration_error_before": round(before, 4), "calibration_error": round(after, 4)}
        return {"temperature": spec["temperature"], **errors, **few}

    def choose_samples(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> Sequence[tuple[str, int]]:
        """Of each category the first image that is predicted right."""
        assert isinstance(dataset, Split)
        predicted = predictions["probabilities"].argmax(1)
        chosen = []
        for label, name in enumerate(spec["labels"]):
            right = ((dataset.labels == label) & (predicted == label)).nonzero()[:1, 0].tolist()
            chosen += [(name, place) for place in right]
        return chosen

    def write_card(self, card: Card) -> CardText:
        """See card.py."""
        matrix = _confusion(card.predictions, card.test, card.spec)
        transform = self.transform(card.spec)
        words = self.card_words.get(transform.name, Words())
        source = self.card_sources.get(card.settings["data"], "")
        return card_text(card, replace(words, source=source), transform, matrix)

    def subset(self, data: DataModule, examples: int) -> Data:
        """So many training images, of which a twelfth is held out for validation."""
        assert isinstance(data, Data)
        return data.subset(examples)

    def describe_mismatch(self, spec: Spec, other: Spec) -> str:
        """Other categories, or images of another transform; what the pixels are normalised with is the model's own."""
        if spec["labels"] != other["labels"]:
            only = sorted({*spec["labels"]} ^ {*other["labels"]})
            return f"categories ({len(only)} are not in both, such as {', '.join(only[:3])})"
        ours, theirs = self.transform(spec), self.transform(other)
        return f"pictures ({theirs}, not {ours})" if ours != theirs else ""

    def adopt_spec(self, spec: Spec, initial: Spec) -> Spec:
        """The statistics come with the weights."""
        return {**spec, "mean": initial["mean"], "deviation": initial["deviation"]}

    def foreign_spec(self, spec: Spec, statistics: str) -> Spec:
        """With a mean and a deviation for each channel, `0.485,0.456,0.406/0.229,0.224,0.225`, or those of the data."""
        if statistics == "data":
            return spec
        try:
            mean, deviation = ([float(each) for each in part.split(",")] for part in statistics.split("/"))
            preprocessing = Preprocessing.from_dict(
                {"mean": mean, "deviation": deviation}, channels=self.transform(spec).channels
            )
        except ValueError as error:
            example = "0.485,0.456,0.406/0.229,0.224,0.225"
            remedy = f"give mean/deviation of each channel that it was trained with, such as {example}, or data"
            raise UsageError(f"setting init_statistics={statistics!r} is impossible; {remedy}") from error
        return {**spec, **preprocessing.to_dict()}

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
        other_shape, shape = (self.transform(each).shape for each in (other_spec, spec))
        if other_shape != shape:
            shapes = ["x".join(map(str, each)) for each in (other_shape, shape)]
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


def _confusion(predictions: Predictions, dataset: Dataset, spec: Spec) -> Tensor:
    assert isinstance(dataset, Split)
    return confusion(dataset.labels, predictions["probabilities"].argmax(1), categories=len(spec["labels"]))


def _split_head(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    *body, head = network.children()
    return nn.Sequential(*body), head
