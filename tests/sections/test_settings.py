import math

import pytest

from samebench.core.command import UsageError
from sections.settings import Budgets, Settings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": "lstm"}, "setting network='lstm' is impossible; take one of bag, conv"),
        ({"width": 0}, "setting width=0 is impossible; take 1 to 1024"),
        ({"rare_weight": 1.5}, "setting rare_weight=1.5 is impossible; take a share, from 0 to 1"),
        ({"epochs": 0}, "setting epochs=0 is impossible"),
    ],
)
def test_an_impossible_setting_is_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(**change)  # type: ignore[arg-type]


def test_an_impossible_budget_is_refused() -> None:
    with pytest.raises(UsageError, match="min_validation_accuracy=nan is impossible; take a number"):
        Budgets(min_validation_accuracy=math.nan)
