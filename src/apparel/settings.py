"""Everything that decides what a training of this project gives, and what its artifacts must keep."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from samebench.settings import Budgets as BenchBudgets
from samebench.settings import TrainingSettings, require, require_choice, require_shares, setting_field

Network = Literal["linear", "conv", "residual"]


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """The settings of one training; refuses impossible ones with the field, the value and the remedy."""

    architecture: ClassVar[tuple[str, ...]] = ("network",)

    data: str = setting_field(
        "fashion-mnist", "fashion-mnist, synthetic, the name of one of your own, or a directory with the four idx files"
    )
    network: Network = setting_field("conv", "which network to train")
    label_smoothing: float = setting_field(0.1, "share of a label that goes to all")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        require(self, 0 <= self.label_smoothing < 1, "label_smoothing", "take 0 or more and less than 1")
        require_choice(self, "network", Network)


@dataclass(frozen=True, kw_only=True)
class Budgets(BenchBudgets):
    """What a manager asks of an artifact before it is served."""

    min_validation_accuracy: float = setting_field(0.9, "share of the validation images that must be right, 0 to 1")
    min_test_accuracy: float = setting_field(0.0, "the same of the test images; refuses an artifact, chooses no run")

    def __post_init__(self) -> None:
        """Raise UsageError for the first one that can't be."""
        super().__post_init__()
        require_shares(self, "min_validation_accuracy", "min_test_accuracy")
