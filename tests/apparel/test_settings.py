import dataclasses
from typing import Any

import pytest

from apparel.settings import Settings
from samebench.command import Refusal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("batch_size", 1),
        ("batch_size", 501),
        ("shards", 0),
        ("shards", 256),
        ("lr", 0.0),
        ("lr", float("inf")),
        ("weight_decay", -1.0),
        ("weight_decay", float("nan")),
        ("label_smoothing", 1.0),
        ("network", "deep"),
        ("device", "tpu"),
        ("data", ""),
    ],
)
def test_an_impossible_value_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Refusal, match=rf"{field}=.*impossible; "):
        dataclasses.replace(Settings(), **{field: value})


def test_settings_survive_the_receipt() -> None:
    settings = Settings(seed=3, network="linear")
    assert Settings(**dataclasses.asdict(settings)) == settings
