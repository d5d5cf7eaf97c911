"""Everything that decides what a training gives, and what its artifacts must keep."""

from dataclasses import dataclass
from typing import ClassVar

from samebench.settings import Budgets as BenchBudgets
from samebench.settings import TrainingSettings, require, require_shares, setting_field


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """The settings of one training; each is a flag: make train ARGS="--width 128"."""

    architecture: ClassVar[tuple[str, ...]] = ("width",)

    lr: float = setting_field(0.5, "the highest learning rate of the schedule")
    width: int = setting_field(64, "numbers for each word")
    rare_weight: float = setting_field(0.0, "0: each text counts the same in the loss; 1: rare labels count most")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        require(self, 1 <= self.width <= 1024, "width", "take 1 to 1024")
        require_shares(self, "rare_weight")


@dataclass(frozen=True, kw_only=True)
class Budgets(BenchBudgets):
    """What an artifact must keep before it is served."""

    min_validation_accuracy: float = setting_field(0.0, "share of the validation texts that must be right, 0 to 1")
