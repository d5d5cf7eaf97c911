import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.core.flags import to_dict
from samebench.runs.run import Run
from tiny.settings import Settings


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
    with pytest.raises(UsageError, match=rf"{field}=.*impossible; "):
        dataclasses.replace(Settings(), **{field: value})


def test_settings_survive_the_receipt(tmp_path: Path) -> None:
    settings = Settings(seed=3, network="linear")
    receipt = json.loads(json.dumps({"settings": to_dict(settings)}))
    assert Run(tmp_path, receipt).read_settings() == settings


@pytest.mark.parametrize("wrong", [{"epochs": "6"}, {"lr": None}, {"fast": 1}, {"unknown": 1}, [], None])
def test_a_receipt_with_settings_of_other_types_is_refused(tmp_path: Path, wrong: Any) -> None:
    with pytest.raises(UsageError, match="settings of other code"):
        Run(tmp_path, {"settings": wrong}).read_settings()
