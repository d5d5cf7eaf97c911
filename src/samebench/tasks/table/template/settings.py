"""Everything that decides what a training gives, and what its artifacts must keep."""

from dataclasses import dataclass
from typing import ClassVar

from samebench.settings import Budgets as BenchBudgets
from samebench.settings import TrainingSettings, require, setting_field


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """The settings of one training; each is a flag: make train ARGS="--width 64"."""

    architecture: ClassVar[tuple[str, ...]] = ("width",)

    epochs: int = setting_field(20, "how often each training row is seen")
    batch_size: int = setting_field(64, "rows a step")
    lr: float = setting_field(0.05, "the highest learning rate of the schedule")
    width: int = setting_field(32, "neurons of the hidden layer")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        require(self, 1 <= self.width <= 4096, "width", "take 1 to 4096")


@dataclass(frozen=True, kw_only=True)
class Budgets(BenchBudgets):
    """What an artifact must keep before it is served."""

    max_validation_rmse: float = setting_field(1e9, "the error on the validation rows, in units of the target")
