"""A table in a CSV file as a data set: its columns are found, and its rows dealt out by their hashes."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import fetch
from samebench.data.source import Source
from samebench.tasks.table.columns import LONGEST, MOST_COLUMNS, MOST_VALUES, Columns, read_number
from samebench.training.sample_random import uniform
from samebench.training.tensor_dataset import TensorDataset

FILE = "table.csv"
MAX_BYTES = 1 << 30
VALIDATION, TEST = 1 / 12, 1 / 6  # of the rows
SYNTHETIC_ROWS = 1200


class TableData:
    """Rows in three parts: `numbers` (N, n) float32, `categories` (N, c) int64 and the target `values` (N,) float32."""

    warning = ""

    def __init__(self, rows: Sequence[Mapping[str, str]], target: str, *, where: object) -> None:
        """Find the columns, and deal the rows out by a hash of each: equal rows are in one part."""
        self.columns = find_columns(rows, target, where=where)
        read, values = [], []
        for place, row in enumerate(rows, start=2):
            try:
                read.append(self.columns.read_row({name: row[name] for name in row if name != target}))
                values.append(read_number(target, row[target]))
            except ValueError as error:
                raise UsageError(f"{where}, row {place}: {printable(str(error), longest=400)}; mend it") from error
        if any(map(math.isnan, values)):
            raise UsageError(f"{where}, row {2 + [*map(math.isnan, values)].index(True)}: {target} is missing; mend it")
        examples = TensorDataset(
            {
                "numbers": torch.from_numpy(np.stack([numbers for numbers, _, _ in read])),
                "categories": torch.from_numpy(np.stack([places for _, places, _ in read])),
                "values": torch.tensor(values, dtype=torch.float32),
            }
        )
        shares = torch.tensor([_share(each) for each in rows], dtype=torch.float64)
        masks = (shares >= TEST + VALIDATION, (shares >= TEST) & (shares < TEST + VALIDATION), shares < TEST)
        if not all(mask.any() for mask in masks):
            raise UsageError(f"{where}: {len(rows)} rows, too few for training, validation and test; give more")
        self.training, self.validation, self._test = map(examples.select, masks)
        self.target = target
        content = hashlib.sha256(json.dumps(self.spec).encode())
        for part in (self.training, self.validation, self._test):
            for tensor in part.tensors.values():
                content.update(tensor.numpy().tobytes())
        self.version = content.hexdigest()

    @property
    def spec(self) -> dict[str, Any]:
        """Columns and target, and the mean and the deviation of each number in the training rows."""
        numbers, values = self.training["numbers"].double(), self.training["values"].double()
        mean = torch.nanmean(numbers, dim=0)
        deviation = torch.nanmean((numbers - mean) ** 2, dim=0).sqrt()
        return {
            **self.columns.to_dict(),
            "mean": torch.nan_to_num(mean).tolist(),
            "deviation": [each if each > 0 else 1.0 for each in torch.nan_to_num(deviation).tolist()],
            "target": self.target,
            "target_mean": float(values.mean()),
            "target_deviation": float(values.std(correction=0)) or 1.0,
        }

    def test(self) -> TensorDataset:
        """The test rows, which no choice may depend on."""
        return self._test


def load(name: str, *, target: str) -> TableData:
    """The table that the setting `data` names: `data/NAME/table.csv`, a directory with it, or synthetic.

    Raises UsageError for one that is missing, damaged, or has no column `target`.
    """
    if name == "synthetic":
        return TableData(list(synthetic(target)), target, where=name)
    source = Source.of(name)
    if source.has_versions() and source.is_known():
        fetch.fetch_dataset(source.name)
    return TableData(read_csv(source.read(FILE, max_bytes=MAX_BYTES), where=source.path(FILE)), target, where=FILE)


def read_csv(content: bytes, *, where: object) -> list[dict[str, str]]:
    """The rows of a CSV file with a line of names. Raises UsageError for anything else."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        names = list(reader.fieldnames or [])
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{where}: {error}; give a CSV in UTF-8 with a line of names") from error
    if not 2 <= len(names) <= MOST_COLUMNS or len(set(names)) < len(names) or not rows:
        raise UsageError(
            f"{where}: {len(names)} columns and {len(rows)} rows; give two different names or more, and rows"
        )
    for place, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise UsageError(f"{where}, row {place}: not {len(names)} cells; mend it")
    return rows


def find_columns(rows: Sequence[Mapping[str, str]], target: str, *, where: object) -> Columns:
    """Which columns have numbers, and the values of the others. Raises UsageError for impossible ones."""
    if target not in rows[0]:
        raise UsageError(f"{where}: no column {target}; there are {printable(', '.join(rows[0]), longest=400)}")
    numbers, categories = [], {}
    for name in rows[0]:
        values = {row[name] for row in rows}
        if name == target:
            continue
        if all(map(_is_number, values - {""})):
            numbers.append(name)
        elif len(values) <= MOST_VALUES and max(map(len, values)) <= LONGEST:
            categories[name] = tuple(sorted(values))
        else:
            text = printable(name, longest=LONGEST)
            raise UsageError(f"{where}: {text} has more than {MOST_VALUES} values, or long ones; leave the column out")
    return Columns(tuple(numbers), categories)


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


def statistics(spec: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Mean and deviation (n,) of the numbers."""
    return torch.tensor(spec["mean"], dtype=torch.float32), torch.tensor(spec["deviation"], dtype=torch.float32)
