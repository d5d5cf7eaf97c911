"""Everything that decides what a training gives, and what its artifacts must keep."""

from dataclasses import dataclass

from samebench.settings import Budgets as BenchBudgets
from samebench.settings import TrainingSettings, require, setting_field


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """The settings of one training; each is a flag: make train ARGS="--epochs 9"."""

    label_smoothing: float = setting_field(0.1, "share of a label that goes to all")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        require(self, 0 <= self.label_smoothing < 1, "label_smoothing", "take 0 or more and less than 1")


@dataclass(frozen=True, kw_only=True)
class Budgets(BenchBudgets):
    """What an artifact must keep before it is served."""

    min_validation_accuracy: float = setting_field(0.0, "share of the validation images that must be right, 0 to 1")
