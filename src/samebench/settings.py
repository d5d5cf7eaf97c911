"""The settings that every training has. A project adds its own; flags, receipt and checkpoint have all of them."""

import math
import re
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_args

from samebench.core.command import UsageError

Device = Literal["auto", "cpu", "cuda"]
OptimizerName = Literal["sgd", "adamw"]
METRIC_BUDGET = re.compile(r"(min|max)_(validation|test)_")  # how the name of such a field begins


def setting_field(default: Any, text: str) -> Any:
    """A field with its default and what its flag's help says."""
    return field(default=default, metadata={"help": text})


def require(settings: object, holds: bool, name: str, remedy: str) -> None:
    """Raise UsageError with the field, its value and the remedy if a condition does not hold."""
    if not holds:
        raise UsageError(f"setting {name}={getattr(settings, name)!r} is impossible; {remedy}")


def require_choice(settings: object, name: str, choices: Any) -> None:
    """Raise UsageError if the field is not one of the words of a Literal."""
    words = get_args(choices)
    require(settings, getattr(settings, name) in words, name, f"take one of {', '.join(words)}")


def require_shares(settings: object, *names: str) -> None:
    """Raise UsageError for the first of these fields that is not from 0 to 1."""
    for name in names:
        require(settings, 0 <= getattr(settings, name) <= 1, name, "take a share, from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The settings of one training; refuses impossible ones with the field, the value and the remedy.

    A subclass gives other defaults, and adds fields. Two trainings with equal settings, data and code have equal
    weights.
    """

    generated_data: ClassVar[tuple[str, ...]] = ("synthetic",)  # data sets that the project makes, without files
    architecture: ClassVar[tuple[str, ...]] = ()  # the fields that say which network it is; a model's file has them

    data: str = setting_field("synthetic", "the name of a data set, or a directory")
    init: str = setting_field("", "a run, a model.safetensors, or one of others, whose weights to start from")
    init_names: str = setting_field("", "of a file of others: its prefixes and ours, 'backbone.=features.,…'")
    init_statistics: str = setting_field("", "of a file of others: mean/deviation of its pixels, or data: this set's")
    epochs: int = setting_field(6, "how often each training example is seen")
    seed: int = setting_field(0, "what the weights, the order and the augmentation are derived from")
    batch_size: int = setting_field(256, "examples a step")
    shards: int = setting_field(4, "equal parts of a batch, each worked on by one thread; part of the result")
    lr: float = setting_field(0.25, "the highest learning rate of the schedule")
    weight_decay: float = setting_field(0.0005, "pull of the weights towards zero")
    optimizer: OptimizerName = setting_field("sgd", "sgd: with Nesterov momentum of 0.9; adamw: with betas 0.9, 0.999")
    clip_norm: float = setting_field(0.0, "the highest norm of all gradients together; 0: any")
    freeze: str = setting_field("", "the parameters that stay as they are: 'features.*,stem.*'; empty: none")
    fast: bool = setting_field(False, "the machine's full speed instead of the same bits everywhere")
    device: Device = setting_field("auto", "auto: cuda with GPU=1, cpu without")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        for name, lowest in {"epochs": 1, "batch_size": 2, "shards": 1, "seed": 0}.items():
            require(self, getattr(self, name) >= lowest, name, f"take {lowest} or more")
        require(self, self.seed < 2**63, "seed", "take less than 2**63")
        require(self, self.batch_size % self.shards == 0, "batch_size", f"take a multiple of shards={self.shards}")
        require(self, self.batch_size >= 2 * self.shards, "shards", "leave two examples a shard or more")
        require(self, 0 < self.lr < math.inf, "lr", "take a number above 0")
        require(self, 0 <= self.weight_decay < math.inf, "weight_decay", "take 0 or more")
        for name in ("init_names", "init_statistics"):
            require(self, bool(self.init) or not getattr(self, name), name, "it is for a file that init names")
        require(self, 0 <= self.clip_norm < math.inf, "clip_norm", "take 0 or more")
        require_choice(self, "device", Device)
        require_choice(self, "optimizer", OptimizerName)
        require(self, bool(self.data), "data", "give the name of a data set, or a directory")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What `make train` takes beside the settings: it changes nothing in the weights."""

    resume: str = setting_field("", "a run to resume: latest, or runs/<id>")
    checkpoint_seconds: float = setting_field(60.0, "from one checkpoint to the next, beside the one after each epoch")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        require(self, self.checkpoint_seconds >= 0, "checkpoint_seconds", "take 0 or more")


def small_batch_args(examples: int) -> str:
    """The words for a training on so few examples: a batch of a power of two, at most 32, and a rate for it."""
    return f'ARGS="--batch-size {min(32, 1 << max(examples.bit_length() - 1, 0))} --lr 0.02"'


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What an artifact must keep before it is served.

    A project's subclass adds fields for its metrics: `min_validation_accuracy`, `max_test_rmse`.
    """

    max_model_megabytes: float = setting_field(5.0, "the artifact's size in units of 10**6 bytes")
    max_latency_ms_p99: float = setting_field(
        20.0, "what 99 of 100 single examples take at most, on the machine that exports"
    )

    def __post_init__(self) -> None:
        """Raise UsageError for the first one that can't be."""
        for name in ("max_model_megabytes", "max_latency_ms_p99"):
            require(self, getattr(self, name) > 0, name, "take a number above 0")
        for budget in metric_budgets(self):
            require(self, not math.isnan(budget.value), budget.name, "take a number")


@dataclass(frozen=True)
class MetricBudget:
    """A budget for a metric: the field `min_validation_accuracy` means at least so much accuracy on that data."""

    name: str  # of the field
    value: float

    @property
    def is_least(self) -> bool:
        """Whether it is the least that a figure must be, and not the most."""
        return self.name.startswith("min_")

    @property
    def split(self) -> str:
        """`validation` or `test`."""
        return self.name.split("_")[1]

    @property
    def column(self) -> str:
        """The figure that it is about, as a receipt calls it: `validation_accuracy`."""
        return self.name.split("_", 1)[1]

    def allows(self, figure: float) -> bool:
        """Whether a figure keeps it; what is no number keeps none."""
        return figure >= self.value if self.is_least else figure <= self.value


def metric_budgets(budgets: Budgets) -> list[MetricBudget]:
    """Those of the `budgets` that are about a metric, in the order of the fields."""
    names = (each.name for each in fields(budgets) if METRIC_BUDGET.match(each.name))
    return [MetricBudget(name, getattr(budgets, name)) for name in names]


def budget_override_args(budgets: Budgets, name: str, figure: float, *, defaults: Budgets) -> str:
    """The words with which a model with this figure keeps the budget `name`; the other `budgets` stay."""
    values = {each.name: getattr(budgets, each.name) for each in fields(defaults)}
    scale = 100 if METRIC_BUDGET.match(name) else 1  # megabytes and milliseconds are whole
    values[name] = (math.floor if name.startswith("min_") else math.ceil)(scale * figure) / scale
    words = (
        f"--{each.replace('_', '-')} {value:g}" for each, value in values.items() if value != getattr(defaults, each)
    )
    return f'ARGS="{" ".join(words)}"'
