"""Everything that decides what a training of this project gives, and what its artifacts must keep."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from samebench.settings import Budgets as BenchBudgets
from samebench.settings import TrainingSettings, require, require_choice, require_shares, setting_field

Network = Literal["bag", "conv"]


@dataclass(frozen=True, kw_only=True)
class Settings(TrainingSettings):
    """The settings of one training; refuses impossible ones with the field, the value and the remedy."""

    architecture: ClassVar[tuple[str, ...]] = ("network", "width")

    data: str = setting_field("debian-bookworm", "debian-bookworm, synthetic, or a directory with its Packages.xz")
    epochs: int = setting_field(8, "how often each training package is seen")
    lr: float = setting_field(0.5, "the highest learning rate of the schedule")
    weight_decay: float = setting_field(0.001, "pull of the weights towards zero")
    network: Network = setting_field("conv", "which network to train")
    width: int = setting_field(64, "numbers for each word")
    rare_weight: float = setting_field(0.5, "0: each package counts the same in the loss; 1: rare sections count most")

    def __post_init__(self) -> None:
        """Raise UsageError for the first field that can't be."""
        super().__post_init__()
        require_choice(self, "network", Network)
        require(self, 1 <= self.width <= 1024, "width", "take 1 to 1024")
        require_shares(self, "rare_weight")


@dataclass(frozen=True, kw_only=True)
class Budgets(BenchBudgets):
    """What a manager asks of an artifact before it is served."""

    min_validation_accuracy: float = setting_field(0.65, "share of the validation packages that must be right, 0 to 1")
