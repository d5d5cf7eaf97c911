"""The training side of a project: its data, its network, its loss and its metrics. The bench does everything else.

A project's `task.py` has `TASK`, an instance of a subclass of Task. Two rules keep the promise of the same bits:
nothing here draws from a global random generator, and every figure over a batch is a sum over its examples.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from samebench.core.command import UsageError
from samebench.data.diff import Example
from samebench.data.merge import Resolve
from samebench.project import Metric
from samebench.runs import receipt
from samebench.settings import TrainingSettings
from samebench.training import sample_random

Batch = Mapping[str, Tensor]  # the first dimension of each tensor is the examples
Predictions = Mapping[str, Tensor]  # the same
Spec = Mapping[str, Any]  # JSON: what data, checkpoint, model and artifact must agree on, such as class names
WARMUP_SHARE = 0.2  # of the steps
SAMPLES = 10  # of an artifact, by default
TARGETS = {"labels", "values", "weights"}  # in a batch: what a network learns from, and does not get


class Dataset(Protocol):
    """Examples by index."""

    def __len__(self) -> int:
        """How many examples there are."""

    def get_batch(self, indices: Tensor) -> Batch:
        """The examples at `indices` (N,), on the data set's device: the same for the same indices, in any thread."""

    def to(self, device: torch.device) -> Self:
        """The same examples on a device."""


class DataModule(Protocol):
    """The data of a training: the training, validation and test examples."""

    @property
    def version(self) -> str:
        """SHA-256 over all of it."""

    @property
    def spec(self) -> Spec:
        """What a model of this data needs to know, such as class names."""

    @property
    def warning(self) -> str:
        """A warning to print before a training; empty if there is none."""

    @property
    def training(self) -> Dataset:
        """The examples to train on."""

    @property
    def validation(self) -> Dataset:
        """The examples by which epochs and runs are chosen."""

    def test(self) -> Dataset:
        """The test examples, which no choice may depend on."""


@dataclass(frozen=True)
class SampleRandom:
    """Random numbers for the examples of a batch, each a function of seed, epoch, example and purpose alone."""

    seed: int
    epoch: int
    indices: Tensor  # (N,), on the CPU

    def integers(self, purpose: str, below: int) -> Tensor:
        """A whole number in [0, below) for each example (N,) int64."""
        indices = self.indices.numpy()
        numbers = sample_random.integers(indices, below=below, seed=self.seed, epoch=self.epoch, purpose=purpose)
        return torch.from_numpy(numbers)

    def uniform(self, purpose: str) -> Tensor:
        """A number in [0, 1) for each example (N,) float64."""
        numbers = sample_random.uniform(self.indices.numpy(), seed=self.seed, epoch=self.epoch, purpose=purpose)
        return torch.from_numpy(numbers)


@dataclass(frozen=True)
class Subset:
    """Some examples of a data set."""

    dataset: Dataset
    places: Tensor  # (N,) int64: their indices in the data set

    def __len__(self) -> int:
        """How many examples there are."""
        return len(self.places)

    def get_batch(self, indices: Tensor) -> Batch:
        """See Dataset."""
        return self.dataset.get_batch(self.places[indices])

    def to(self, device: torch.device) -> Self:
        """See Dataset."""
        return replace(self, dataset=self.dataset.to(device), places=self.places.to(device))


class PartialData:
    """Some of the training examples of `whole`, with its validation data, which are the test data, too."""

    def __init__(self, whole: DataModule, examples: int) -> None:
        """Choose `examples` training examples at random, or all if there are fewer."""
        indices = sample_random.order(len(whole.training), seed=0, epoch=0, purpose="part")[:examples]
        self.training, self.validation = Subset(whole.training, indices), whole.validation
        self.spec, self.warning = whole.spec, whole.warning
        self.version = hashlib.sha256(f"{whole.version} {len(indices)}".encode()).hexdigest()

    def test(self) -> Dataset:
        """The validation data."""
        return self.validation


@dataclass(frozen=True)
class Card:
    """The input of a model card."""

    spec: Spec  # of the artifact
    figures: Mapping[str, Any]  # of the artifact: metrics, and what `describe_outputs` says
    settings: Mapping[str, Any]  # of the run
    predictions: Predictions  # on the test data
    test: Dataset


@dataclass(frozen=True)
class CardText:
    """The project's texts for a model card, as Markdown."""

    title: str
    purpose: str  # what goes in, what comes out, and what it is for
    source: str = ""  # of the data, after their name
    figures: Sequence[tuple[str, str]] = ()  # rows of the table, beside the metrics
    limits: Sequence[str] = ()  # what the model can't do
    interface: str = ""  # the inputs and outputs of the graph, in words


class Task(ABC):
    """What a project trains. Every method is pure; `settings` are those of one training, `spec` that of its data."""

    metrics: Sequence[Metric]  # the first one on the validation data says which epoch and which run is better

    @abstractmethod
    def load_data(self, name: str) -> DataModule:
        """The data set that the setting `data` names. Raises UsageError if it is missing or damaged."""

    def example_reader(self, files: Collection[str]) -> Callable[[Path], list[Example]] | None:
        """What reads the examples of a data set that has these files, for `make data-diff`; None compares the files."""
        return None

    def file_merger(self) -> Resolve | None:
        """What merges files that two branches have changed, for `make data-merge`; None refuses them.

        It may start this process anew, as `determinism.reexecute` does.
        """
        return None

    @abstractmethod
    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """The network. Its initial weights come from torch's generator, which the bench has seeded."""

    def augment(self, batch: Batch, random: SampleRandom, spec: Spec) -> Batch:
        """A training batch with small random changes; unchanged by default."""
        return batch

    @abstractmethod
    def preprocess(self, batch: Batch, spec: Spec) -> tuple[Tensor, ...]:
        """What the network takes, of a batch with or without its labels. It is part of the exported graph."""

    @abstractmethod
    def loss(self, outputs: Tensor, batch: Batch, settings: Any, spec: Spec) -> tuple[Tensor, Tensor]:
        """The sum of the losses and the sum of their weights: examples, tokens or pixels. Both are scalars."""

    @abstractmethod
    def postprocess(self, outputs: Tensor, spec: Spec) -> dict[str, Tensor]:
        """The predictions (N, …) by name. It is part of the exported graph."""

    def example_values(self, predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
        """For each metric its value of each example (N,): bool for right or wrong, else a float; none by default.

        Those of the first metric decide whether the difference between two runs is chance.
        """
        return {}

    def metric_sums(self, predictions: Predictions, batch: Batch) -> Mapping[str, Tensor]:
        """Sums over the examples of a batch, float64 scalars, of which `compute_metrics` makes the metrics."""
        return {name: values.double().sum() for name, values in self.example_values(predictions, batch).items()}

    def compute_metrics(self, sums: Mapping[str, float], count: int) -> Mapping[str, float]:
        """A figure for each metric, of the sums over `count` examples; their means by default."""
        return {name: total / count for name, total in sums.items()}

    def build_optimizer(self, network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
        """The optimizer of the settings. `lr_factor` scales the initial rate of each group of parameters."""
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if settings.optimizer == "adamw":
            return torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        return torch.optim.SGD(
            parameters, lr=settings.lr, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay
        )

    def lr_factor(self, progress: float) -> float:
        """The learning rate as a fraction of the highest after the fraction `progress` of the steps.

        By default it rises linearly in the first fifth of the steps, then falls linearly to 0.
        """
        return min(progress / WARMUP_SHARE, (1 - progress) / (1 - WARMUP_SHARE))

    def draw_figures(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> Mapping[str, bytes]:
        """PNGs by name for TensorBoard, of the predictions on the validation data; none by default."""
        return {}

    def summarize(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> str:
        """Text about the predictions on a data set, printed with the metrics; empty by default."""
        return ""

    def draw_summary(
        self, predictions: Predictions, dataset: Dataset, spec: Spec, *, title: str
    ) -> Mapping[str, bytes]:
        """PNGs by name for the folder of a run, of the predictions on the test data; none by default."""
        return {}

    def graph_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The inputs of the exported graph by name; by default all of a batch but TARGETS."""
        return {name: tensor for name, tensor in batch.items() if name not in TARGETS}

    def finish_spec(self, outputs: Tensor, data: DataModule, spec: Spec) -> Spec:
        """The spec of an artifact. It may add values of the outputs (N, …) on the validation data."""
        return spec

    def describe_outputs(self, outputs: Tensor, data: DataModule, spec: Spec) -> Mapping[str, float | str]:
        """More figures of an artifact, from the outputs (N, …) on the test data; none by default."""
        return {}

    def choose_samples(self, predictions: Predictions, dataset: Dataset, spec: Spec) -> Sequence[tuple[str, int]]:
        """Titles and indices of the validation examples by which a server checks its model."""
        count = len(dataset)
        step = max(1, count // SAMPLES)
        return [(f"example {place}", place) for place in range(0, count, step)][:SAMPLES]

    def write_card(self, card: "Card") -> "CardText":
        """The project's texts for the model card."""
        return CardText(title="Model", purpose="It answers on examples like those that it was trained on.")

    def subset(self, data: DataModule, examples: int) -> DataModule:
        """The data with some training examples, the same each time; its test data are the validation data."""
        return PartialData(data, examples)

    def describe_mismatch(self, spec: Spec, other: Spec) -> str:
        """Why a model of one spec can't predict data of the other; empty if it can."""
        lines = receipt.diff(spec, other, fields=[*spec, *other])
        return f"spec: {'; '.join(lines[:3])}" if lines else ""

    def adopt_spec(self, spec: Spec, initial: Spec) -> Spec:
        """The spec of a training that starts from a model with the spec `initial`: statistics come with the weights."""
        return spec

    def foreign_spec(self, spec: Spec, statistics: str) -> Spec:
        """The spec of a training that starts from a file of others, whose preprocessing had these statistics.

        `data`: those of this data set. Raises UsageError for any other text, as nothing is guessed.
        """
        if statistics != "data":
            remedy = "give data, if it was trained with the preprocessing of this data set"
            raise UsageError(f"setting init_statistics={statistics!r} is impossible; {remedy}")
        return spec

    def check_spec(self, spec: Mapping[str, Any]) -> Spec:
        """The spec in a file, which may be a stranger's. Raises LookupError, TypeError or ValueError if it is none."""
        return spec

    def read_first_edition(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """`settings` and `spec` of a model that has none of both. Raises ValueError: only the pilot has such models."""
        raise ValueError("it has no spec")

    def check_initial(self, settings: Any, spec: Spec, other_settings: Any, other_spec: Spec) -> None:
        """Raise UsageError if a training with `settings` can't start from a model of `other_settings`."""
        for name in settings.architecture:
            value, other = getattr(settings, name), getattr(other_settings, name)
            if value != other:
                remedy = f"take --{name.replace('_', '-')} {other}, or start from another model"
                raise UsageError(f"its {name} is {other}, and {name}={value} is asked for; {remedy}")

    def load_pretrained(self, model_network: nn.Module, spec: Spec, other: nn.Module, other_spec: Spec) -> str:
        """Load the weights of `other`; return words on which. Raises UsageError if they don't fit."""
        try:
            model_network.load_state_dict(other.state_dict())
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(f"{reason}; start from a model of the same network") from error
        return "with all of its weights"
