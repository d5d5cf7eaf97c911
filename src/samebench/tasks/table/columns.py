"""The columns of a table, as a model of it knows them. Training and server both read rows by them. No torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samebench.core.text import is_line

MISSING = math.nan  # a number that is not there; the graph puts the mean in its place
MOST_COLUMNS, MOST_VALUES, LONGEST = 1000, 1000, 100  # columns, values of a category, letters of a name or value
LARGEST = 1e30  # of a number


class Columns(NamedTuple):
    """The names of the columns of numbers, and of those of categories with their values."""

    numbers: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]

    def read_row(self, row: Mapping[str, Any]) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
        """The numbers (n,) and the categories (c,) of a row by column, and warnings.

        A category that no training row had has the number behind the last one. Raises ValueError for a column that the
        table does not have, and for what is no number.
        """
        if unknown := sorted({*row} - {*self.numbers, *self.categories}):
            raise ValueError(
                f"no column {unknown[0][:LONGEST]!r}; there are {', '.join([*self.numbers, *self.categories])}"
            )
        numbers = [read_number(name, row.get(name)) for name in self.numbers]
        warnings = [
            f"{name} is missing" for name, value in zip(self.numbers, numbers, strict=True) if math.isnan(value)
        ]
        places = []
        for name, values in self.categories.items():
            value = str(row.get(name, ""))
            places.append(values.index(value) if value in values else len(values))
            if value not in values:
                warnings.append(f"{name} has a value that no training row has")
        return np.array(numbers, np.float32), np.array(places, np.int64), warnings

    def to_dict(self) -> dict[str, Any]:
        """As a spec has them."""
        return {
            "numbers": list(self.numbers),
            "categories": {name: list(each) for name, each in self.categories.items()},
        }

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> "Columns":
        """Those of a stranger's spec. Raises LookupError, TypeError or ValueError for impossible ones."""
        categories = {name: _texts(values, most=MOST_VALUES) for name, values in dict(spec["categories"]).items()}
        columns = cls(_texts(spec["numbers"], most=MOST_COLUMNS), categories)
        names = [*columns.numbers, *_texts(list(categories), most=MOST_COLUMNS)]
        if not names or len(set(names)) < len(names):
            raise ValueError("its columns are no different names")
        return columns


def read_number(name: str, value: object) -> float:
    """The number in a cell; MISSING in an empty one. Raises ValueError for anything else."""
    if value is None or value == "":
        return MISSING
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {str(value)[:LONGEST]!r}, which is no number") from error
    if isinstance(value, bool) or not abs(number) <= LARGEST:
        raise ValueError(f"{name} is {str(value)[:LONGEST]!r}; give a number up to {LARGEST:g}")
    return number


def _texts(values: Any, *, most: int) -> tuple[str, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) > most:
        raise TypeError(f"no list of at most {most} texts")
    if len({*values}) < len(values) or not all(is_line(each, longest=LONGEST) for each in values):
        raise ValueError("texts that are no different lines")
    return tuple(values)
