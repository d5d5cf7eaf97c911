"""A table in a CSV file as a data set: its columns are found, and its rows dealt out by their hashes."""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import fetch
from samebench.data.csv_rows import CsvRows
from samebench.data.source import Source
from samebench.tasks.table.columns import LONGEST, MOST_COLUMNS, MOST_VALUES, Columns, read_number
from samebench.training.sample_random import uniform
from samebench.training.tensor_dataset import CHUNK, TensorDataset, TensorSpool, batched, chunks

FILE = "table.csv"
VALIDATION, TEST = 1 / 12, 1 / 6  # of the rows
SYNTHETIC_ROWS = 1200

Example = tuple[NDArray[np.float32], NDArray[np.int64], np.float32]  # numbers (n,), categories (c,) and the value


class TableData:
    """Rows in three parts: `numbers` (N, n) float32, `categories` (N, c) int64 and the target `values` (N,) float32."""

    warning = ""

    def __init__(self, rows: Iterable[Mapping[str, str]], target: str, *, where: object) -> None:
        """Find the columns, and deal the rows out by a hash of each: equal rows are in one part.

        `rows` is iterated twice. The examples are on the disk; memory has none of the rows.
        """
        self.columns, self.target = find_columns(rows, target, where=where), target
        spools = [TensorSpool() for _ in range(3)]  # test, validation, training
        for some in batched(enumerate(rows, start=2), CHUNK):
            examples: list[list[Example]] = [[] for _ in spools]
            for place, row in some:
                share = _share(row)
                part = (share >= TEST) + (share >= TEST + VALIDATION)
                examples[part].append(self._read_row(row, f"{where}, row {place}"))
            for spool, examples_of_part in zip(spools, examples, strict=True):
                if examples_of_part:
                    numbers, categories, values = map(np.stack, zip(*examples_of_part, strict=True))
                    spool.append({"numbers": numbers, "categories": categories, "values": values})
        if not all(map(len, spools)):
            count = sum(map(len, spools))
            raise UsageError(f"{where}: {count} rows, too few for training, validation and test; give more")
        self._test, self.validation, self.training = (spool.to_dataset() for spool in spools)
        content = hashlib.sha256(json.dumps(self.spec).encode())
        for dataset in (self.training, self.validation, self._test):
            for tensor in dataset.tensors.values():
                for chunk in chunks(len(dataset)):
                    content.update(tensor[chunk].numpy().tobytes())
        self.version = content.hexdigest()

    def _read_row(
        self, row: Mapping[str, str], where: str
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], np.float32]:
        """The example of a row. Raises UsageError for an impossible one."""
        try:
            numbers, places, _ = self.columns.read_row({name: row[name] for name in row if name != self.target})
            value = read_number(self.target, row[self.target])
        except ValueError as error:
            raise UsageError(f"{where}: {printable(str(error), longest=400)}; mend it") from error
        if math.isnan(value):
            raise UsageError(f"{where}: {self.target} is missing; mend it")
        return numbers, places, np.float32(value)

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Columns and target, and the mean and the deviation of each number in the training rows."""
        numbers = [_statistics(self.training["numbers"][:, place]) for place in range(len(self.columns.numbers))]
        target_mean, target_deviation = _statistics(self.training["values"])
        return {
            **self.columns.to_dict(),
            "mean": [mean for mean, _ in numbers],
            "deviation": [deviation for _, deviation in numbers],
            "target": self.target,
            "target_mean": target_mean,
            "target_deviation": target_deviation,
        }

    def test(self) -> TensorDataset:
        """The test rows, which no choice may depend on."""
        return self._test


def load(name: str, *, target: str) -> TableData:
    """The table that the setting `data` names: `data/NAME/table.csv`, a directory with it, or synthetic.

    Raises UsageError for one that is missing, damaged, or has no column `target`.
    """
    if name == "synthetic":
        return TableData([*synthetic(target)], target, where=name)
    source = Source.of(name)
    if source.has_versions() and source.is_known():
        fetch.fetch_dataset(source.name)
    return TableData(read_csv(source.verified_path(FILE)), target, where=FILE)


def read_csv(path: Path) -> CsvRows:
    """The rows of a CSV file with a line of names. Raises UsageError for anything else."""
    rows = CsvRows(path)
    if not 2 <= len(rows.names) <= MOST_COLUMNS or len({*rows.names}) < len(rows.names):
        raise UsageError(f"{path}: {len(rows.names)} columns; give two different names or more")
    return rows


def find_columns(rows: Iterable[Mapping[str, str]], target: str, *, where: object) -> Columns:
    """Which columns have numbers, and the values of the others. Raises UsageError for impossible ones."""
    columns: dict[str, _Column] = {}
    for row in rows:
        if not columns and target not in row:
            raise UsageError(f"{where}: no column {target}; there are {printable(', '.join(row), longest=400)}")
        for name, cell in row.items():
            if name != target:
                columns.setdefault(name, _Column()).add(cell)
    if not columns:
        raise UsageError(f"{where}: no rows; give some")
    numbers, categories = [], {}
    for name, column in columns.items():
        if column.has_numbers:
            numbers.append(name)
        elif column.has_categories:
            categories[name] = tuple(sorted(column.values))
        else:
            text = printable(name, longest=LONGEST)
            raise UsageError(f"{where}: {text} has more than {MOST_VALUES} values, or long ones; leave the column out")
    return Columns(tuple(numbers), categories)


class _Column:
    """The different cells of a column, as long as they are few."""

    def __init__(self) -> None:
        self.has_numbers, self.has_categories = True, True
        self.values: set[str] = set()

    def add(self, cell: str) -> None:
        """See one more cell."""
        if self.has_numbers and cell:
            self.has_numbers = _is_number(cell)
        if self.has_categories and cell not in self.values:
            self.values.add(cell)
            self.has_categories = len(self.values) <= MOST_VALUES and len(cell) <= LONGEST


def synthetic(target: str, count: int = SYNTHETIC_ROWS) -> Iterable[dict[str, str]]:
    """Rows that are made and not stored: the target follows two numbers and a category, with some noise."""
    draws = uniform(np.arange(count * 4), seed=0, epoch=0, purpose="table").reshape(count, 4).tolist()
    for first, second, kind, noise in draws:
        value = 3 * first - 2 * second + int(3 * kind) + 0.1 * noise
        yield {"first": f"{first:.4f}", "second": f"{second:.4f}", "kind": "abc"[int(3 * kind)], target: f"{value:.4f}"}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _share(row: Mapping[str, str]) -> float:
    digest = hashlib.sha256(json.dumps(list(row.values())).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _statistics(values: Tensor) -> tuple[float, float]:
    """Mean and deviation of the values (N,) that are numbers: of exact sums, so that no order of them counts.

    0 and 1 without a number; the deviation of equal ones is 1.
    """

    def numbers() -> Iterator[float]:
        for chunk in chunks(len(values)):
            yield from (each for each in values[chunk].tolist() if not math.isnan(each))

    count = sum(1 for _ in numbers())
    mean = math.fsum(numbers()) / max(1, count)
    variance = math.fsum((each - mean) ** 2 for each in numbers()) / max(1, count)
    return mean, math.sqrt(variance) or 1.0


def statistics(spec: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (n,) of the numbers."""
    return torch.tensor(spec["mean"], dtype=torch.float32), torch.tensor(spec["deviation"], dtype=torch.float32)
