"""Which runs to show, and in which order: `epochs>=5 and test_accuracy>92%`. Names, comparisons and values, no code."""

import operator
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from samebench.core.command import UsageError
from samebench.runs import metrics
from samebench.runs.records import COLUMNS, Record, nearest

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
PART = re.compile(r"\s*(\w+)\s*(==|!=|<=|>=|=|<|>)\s*([^\s<>=!](?:[^<>=!]*[^\s<>=!])?)\s*")
HASHES = {"commit", "data_version"}  # known by their beginning
EXAMPLE = 'give comparisons such as "epochs>=5, network=conv"'


@dataclass(frozen=True)
class Comparison:
    """One name, compared with one value."""

    name: str
    sign: str
    value: str

    def matches(self, record: Record) -> bool:
        """Whether the run has such a value. Raises UsageError where it is a number there and none here."""
        actual = record.value(self.name)
        if actual is None:
            return False
        compare = COMPARISONS[self.sign]
        if isinstance(actual, bool):
            return compare(str(actual).lower(), self.value.lower())
        if isinstance(actual, int | float):
            return compare(actual, self._number())
        if self.name in HASHES:
            return compare(str(actual)[: len(self.value)], self.value)
        return compare(str(actual), self.value)

    def _number(self) -> float:
        digits = self.value.removesuffix("%")
        try:
            number = float(digits)
        except ValueError:
            remedy = "it is a number; give one, such as 5, 0.1 or 92%"
            raise UsageError(f"FILTER={self.name}{self.sign}{self.value}: {remedy}") from None
        return number if digits == self.value else number / 100


def comparisons(expression: str, columns: Collection[str]) -> list[Comparison]:
    """What FILTER asks for, all of which must hold.

    Raises UsageError where it is anything but comparisons of these columns.
    """
    if not expression.strip():
        return []
    matches = [PART.fullmatch(part) for part in re.split(r",|\sand(?:\s|$)", expression)]
    if not all(matches):
        raise UsageError(f"FILTER={expression}: {EXAMPLE}")
    parts = [Comparison(*each.groups()) for each in matches if each]
    for part in parts:
        check(part.name, columns, option=f"FILTER={expression}")
    return parts


def matching(records: Iterable[Record], parts: Sequence[Comparison]) -> list[Record]:
    """The runs for which every part holds."""
    return [record for record in records if all(part.matches(record) for part in parts)]


def ordered(records: Sequence[Record], column: str, columns: Collection[str]) -> list[Record]:
    """The runs with the highest value in `column` first, or the lowest where a `-` stands before it.

    Those without a value come last, and among equals the order stays. Raises UsageError for an unknown name.
    """
    if not column:
        return list(records)
    name = column.removeprefix("-")
    check(name, columns, option=f"SORT={column}")
    with_value = [record for record in records if has_value(record.value(name))]
    without_value = [record for record in records if not has_value(record.value(name))]
    return sorted(with_value, key=lambda record: _rank(record.value(name)), reverse=name == column) + without_value


def names(records: Iterable[Record], settings: Iterable[str]) -> list[str]:
    """What can be asked for: the columns, the project's settings, and those that only a receipt still has."""
    all_records = list(records)
    columns = metrics.columns(record.receipt for record in all_records)
    others = (name for record in all_records for name in record.settings)
    return list(dict.fromkeys([*COLUMNS, *columns, *settings, *others]))


def check(name: str, columns: Collection[str], *, option: str) -> None:
    """Raise UsageError for a name that is not known."""
    if name not in columns:
        raise UsageError(f"{option}: no column or setting is called {name or 'nothing'}; {nearest(name, columns)}")


def has_value(value: object) -> bool:
    """Whether there is a value; the loss of what has diverged is none."""
    return value is not None and value == value


def _rank(value: object) -> tuple[bool, float, str]:
    """Numbers among themselves, and after them all else as text."""
    return (False, value, "") if isinstance(value, int | float) else (True, 0, str(value))
