"""Everything that decides what a training gives; flags, receipt and checkpoint are made from it."""

import math
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from apparel.source import SYNTHETIC, Source
from samebench.core.command import UsageError

Network = Literal["linear", "conv", "residual"]
Device = Literal["auto", "cpu", "cuda"]


def setting_field(default: Any, text: str) -> Any:
    """A field with its default and what its flag's help says."""
    return field(default=default, metadata={"help": text})


def _require(settings: object, holds: bool, name: str, remedy: str) -> None:
    if not holds:
        raise UsageError(f"setting {name}={getattr(settings, name)!r} is impossible; {remedy}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one training; refuses impossible ones with the field, the value and the remedy."""

    data: str = setting_field(
        "fashion-mnist", "fashion-mnist, synthetic, the name of one of your own, or a directory with the four idx files"
    )
    network: Network = setting_field("conv", "which network to train")
    init: str = setting_field("", "a run, or a model.safetensors, whose weights to start from; empty: fresh ones")
    epochs: int = setting_field(6, "how often each training image is seen")
    seed: int = setting_field(0, "what the weights, the order and the augmentation are derived from")
    batch_size: int = setting_field(256, "images a step")
    shards: int = setting_field(4, "equal parts of a batch, each worked on by one thread; part of the result")
    lr: float = setting_field(0.25, "the highest learning rate of the schedule")
    weight_decay: float = setting_field(0.0005, "pull of the weights towards zero")
    label_smoothing: float = setting_field(0.1, "share of a label that goes to all")
    fast: bool = setting_field(False, "the machine's full speed instead of the same bits everywhere")
    device: Device = setting_field("auto", "auto: cuda with GPU=1, cpu without")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        for name, lowest in {"epochs": 1, "batch_size": 2, "shards": 1, "seed": 0}.items():
            _require(self, getattr(self, name) >= lowest, name, f"take {lowest} or more")
        _require(self, self.seed < 2**63, "seed", "take less than 2**63")
        _require(self, self.batch_size % self.shards == 0, "batch_size", f"take a multiple of shards={self.shards}")
        _require(self, self.batch_size >= 2 * self.shards, "shards", "leave two images a shard or more")
        _require(self, 0 < self.lr < math.inf, "lr", "take a number above 0")
        _require(self, 0 <= self.weight_decay < math.inf, "weight_decay", "take 0 or more")
        _require(self, 0 <= self.label_smoothing < 1, "label_smoothing", "take 0 or more and less than 1")
        _require(
            self,
            self.network in get_args(Network),
            "network",
            f"take one of {', '.join(get_args(Network))}",
        )
        _require(self, self.device in get_args(Device), "device", f"take one of {', '.join(get_args(Device))}")
        _require(
            self, bool(self.data), "data", "give fashion-mnist, synthetic, the name of one of your own, or a directory"
        )

    def listings(self) -> list[str]:
        """The files in git that name the version of its data: a sweep compares no others."""
        name = Source.of(self.data).name
        return [] if name == SYNTHETIC else [f"data/{name}.sha256"]

    def alone(self) -> "Settings":
        """The settings without what a command adds to them."""
        return Settings(**{each.name: getattr(self, each.name) for each in fields(Settings)})


@dataclass(frozen=True, kw_only=True)
class TrainArgs(Settings):
    """What `make train` takes: the settings, and what changes nothing in the weights."""

    resume: str = setting_field("", "a run to resume: latest, or runs/<id>")
    checkpoint_seconds: float = setting_field(60.0, "from one checkpoint to the next, beside the one after each epoch")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        _require(self, self.checkpoint_seconds >= 0, "checkpoint_seconds", "take 0 or more")


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What a manager asks of an artifact before it is served."""

    max_model_megabytes: float = setting_field(5.0, "the artifact's size in units of 10**6 bytes")
    max_latency_ms_p99: float = setting_field(
        20.0, "what 99 of 100 single images take at most, on the machine that exports"
    )
    min_validation_accuracy: float = setting_field(0.9, "share of the validation images that must be right, 0 to 1")
    min_test_accuracy: float = setting_field(0.0, "the same of the test images; refuses an artifact, chooses no run")

    def __post_init__(self) -> None:
        """Raise UsageError for the first one that can't be."""
        for name in ("max_model_megabytes", "max_latency_ms_p99"):
            _require(self, getattr(self, name) > 0, name, "take a number above 0")
        for name in ("min_validation_accuracy", "min_test_accuracy"):
            _require(self, 0 <= getattr(self, name) <= 1, name, "take a share, from 0 to 1")


def small_steps(images: int) -> str:
    """What a training on so few training images is told: a batch of a power of two, at most 32, and a rate for it."""
    return f'ARGS="--batch-size {min(32, 1 << max(images.bit_length() - 1, 0))} --lr 0.02"'


def budget_override_args(budgets: Budgets, name: str, figure: float) -> str:
    """What a command is told so that a model with this figure keeps the budget `name`; the other `budgets` stay."""
    usual, asked = Budgets(), {each.name: getattr(budgets, each.name) for each in fields(Budgets)}
    asked[name] = math.floor(100 * figure) / 100 if name.startswith("min_") else math.ceil(figure)
    words = (f"--{each.replace('_', '-')} {value:g}" for each, value in asked.items() if value != getattr(usual, each))
    return f'ARGS="{" ".join(words)}"'
