"""The metrics in a receipt: their figures, which of two runs is better, and how a figure is shown.

A receipt has `metrics`, `{"validation": {"accuracy": 0.93}, "test": {"accuracy": 0.92}}`, and `metric_definitions`, a
list of `{"name": "accuracy", "higher_is_better": true, "format": ".2%"}`. The first metric on the validation data says
which run is better; a test figure never does. A column is called `validation_accuracy`, `test_accuracy`.

A receipt of the first edition has neither: it has columns at its top level, of an accuracy and a loss.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from samebench.project import Metric

SPLITS = ("validation", "test")
FIRST_EDITION = (Metric("accuracy", format=".2%"), Metric("loss", higher_is_better=False))
FIRST_EDITION_COLUMNS = ("validation_accuracy", "validation_loss", "test_accuracy")
FORMAT = re.compile(r"\.\d{1,2}[%efg]")
NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
MOST = 100  # metrics of a run


def to_receipt(definitions: Iterable[Metric]) -> list[dict[str, Any]]:
    """The `metric_definitions` of a receipt."""
    return [asdict(metric) for metric in definitions]


def of_receipt(receipt: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The metrics of a run, the one that decides first. Raises ValueError for definitions that are none."""
    if "metric_definitions" not in receipt:
        return FIRST_EDITION
    entries = receipt["metric_definitions"]
    if not isinstance(entries, list) or not 0 < len(entries) <= MOST or not all(map(_is_definition, entries)):
        raise ValueError("metric_definitions is not a list of metrics")
    return tuple(Metric(**entry) for entry in entries)


def figures(receipt: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a run by their columns; those of a metric that the run does not define are left out.

    Raises ValueError for a figure that is no number.
    """
    if "metrics" not in receipt:
        return _first_edition_figures(receipt)
    result = {}
    for split in SPLITS:
        of_split = receipt["metrics"].get(split, {})
        if not isinstance(of_split, dict):
            raise ValueError(f"metrics.{split} is no object")  # noqa: TRY004 - as below
        for metric in of_receipt(receipt):
            if metric.name in of_split:
                result[f"{split}_{metric.name}"] = _number(of_split[metric.name], f"{split}_{metric.name}")
    return result


def columns(receipts: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns that these runs have: of each metric the validation figure, and of the first the test figure."""
    names: dict[str, None] = {}
    for receipt in receipts:
        metrics = of_receipt(receipt)
        names |= dict.fromkeys(f"validation_{metric.name}" for metric in metrics)
        names[f"test_{metrics[0].name}"] = None
    return sorted(names, key=lambda column: column.startswith("test_"))


def rank(receipt: Mapping[str, Any]) -> tuple[float, ...]:
    """A key that is higher for a better run: its validation figures, the first metric first; empty if it has none."""
    values, key = figures(receipt), []
    for metric in of_receipt(receipt):
        value = values.get(f"validation_{metric.name}", math.nan)
        value = value if metric.higher_is_better else -value
        key.append(-math.inf if math.isnan(value) else value)
    return tuple(key) if any(value > -math.inf for value in key) else ()


def show(column: str, receipt: Mapping[str, Any]) -> str:
    """The figure in a column as people read it; "-" if there is none."""
    value = figures(receipt).get(column)
    return "-" if value is None else show_value(column, value, receipt)


def show_value(column: str, value: float, receipt: Mapping[str, Any]) -> str:
    """A value as it would be shown in a column of a run."""
    name = column.partition("_")[2]
    return next((format(value, metric.format) for metric in of_receipt(receipt) if metric.name == name), f"{value:.4f}")


def _is_definition(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"name", "higher_is_better", "format"}
        and isinstance(entry["name"], str)
        and bool(NAME.fullmatch(entry["name"]))
        and isinstance(entry["higher_is_better"], bool)
        and isinstance(entry["format"], str)
        and bool(FORMAT.fullmatch(entry["format"]))
    )


def _number(value: object, column: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{column} is no number")  # noqa: TRY004 - what a file says, not what a caller does
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{column} is too large a number") from None


def _first_edition_figures(receipt: Mapping[str, Any]) -> dict[str, float]:
    """The weights are those of the epoch with the lowest validation loss; the oldest have its accuracy in `history`."""
    values = {name: receipt[name] for name in FIRST_EDITION_COLUMNS if name in receipt}
    if "validation_accuracy" not in values:
        epochs = [each for each in receipt.get("history", []) if _is_finite(each.get("validation_loss"))]
        best: dict[str, Any] = min(epochs, key=lambda epoch: float(epoch["validation_loss"]), default={})
        if _is_share(best.get("validation_accuracy")):
            values["validation_accuracy"] = best["validation_accuracy"]
    numbers = {name: _number(value, name) for name, value in values.items()}
    for name, value in numbers.items():
        if value < 0 or (value > 1 and name.endswith("accuracy")) or (math.isnan(value) and name.endswith("accuracy")):
            raise ValueError(f"{name} is not a number that it can be")
    return numbers


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < math.inf and value >= 0


def _is_share(value: object) -> bool:
    return _is_finite(value) and 0 <= float(value) <= 1  # type: ignore[arg-type]
