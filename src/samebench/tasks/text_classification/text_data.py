"""Texts with labels as a data set of tokens, dealt out by groups."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from samebench.core.command import UsageError
from samebench.data import fetch
from samebench.data.source import Source
from samebench.tasks.text_classification.tokens import BUCKETS, LENGTH, tokenize
from samebench.training.sample_random import integers
from samebench.training.tensor_dataset import TensorDataset

FILE = "texts.csv"
MAX_BYTES = 1 << 30
HELD_OUT = 12  # one group of so many is for the test, and one for the validation


class Text(NamedTuple):
    """A text, its label, and what it has in common with others: texts of one group are in one part."""

    text: str
    label: str
    group: str


class TextData:
    """Texts in three parts. Texts of one group are in one part, and of texts with equal tokens one is there.

    An example is `tokens` (LENGTH,) int32, a label, and a weight that is higher for rare labels.
    """

    warning = ""

    def __init__(self, texts: Sequence[Text], *, where: object) -> None:
        """Deal the texts out by a hash of their groups. Raises UsageError if a part stays empty."""
        different = {tuple(tokenize(each.text)): each for each in reversed(texts)}  # the first of a text stays
        self.labels = sorted({each.label for each in different.values()})
        tokens = torch.tensor(list(different), dtype=torch.int32)
        labels = torch.tensor([self.labels.index(each.label) for each in different.values()])
        parts = torch.tensor([_part(each.group) for each in different.values()])
        masks = (parts > 1, parts == 1, parts == 0)
        if not all(mask.any() for mask in masks):
            raise UsageError(f"{where}: {len(different)} texts, too few for training, validation and test; give more")
        counts = torch.bincount(labels[parts > 1], minlength=len(self.labels)).double()
        weights = torch.sqrt(counts.mean() / counts.clamp_min(1)).float()[labels]
        examples = TensorDataset({"tokens": tokens, "labels": labels, "weights": weights})
        self.training, self.validation, self._test = map(examples.select, masks)
        content = hashlib.sha256(json.dumps(self.spec).encode())
        for tensor in (tokens, labels, parts):
            content.update(tensor.numpy().tobytes())
        self.version = content.hexdigest()

    @property
    def spec(self) -> dict[str, Any]:
        """What a model of this data must know."""
        return {"labels": self.labels, "buckets": BUCKETS, "length": LENGTH}

    def test(self) -> TensorDataset:
        """The test examples, which no choice may depend on."""
        return self._test


def load(name: str) -> TextData:
    """The texts that the setting `data` names: `data/NAME/texts.csv`, a directory with it, or synthetic.

    Raises UsageError for a missing or damaged one.
    """
    if name == "synthetic":
        return TextData(list(synthetic()), where=name)
    source = Source.of(name)
    if source.has_versions() and source.is_known():
        fetch.fetch_dataset(source.name)
    return TextData(read_csv(source.read(FILE, max_bytes=MAX_BYTES), where=source.path(FILE)), where=source.path(FILE))


def read_csv(content: bytes, *, where: object) -> list[Text]:
    """The texts of a CSV with the columns text and label. Raises UsageError for anything else."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(row["text"], row["label"]) for row in reader]
    except (UnicodeDecodeError, csv.Error, KeyError) as error:
        raise UsageError(f"{where}: {error}; give a CSV in UTF-8 with the columns text,label") from error
    if not rows or not all(text and label for text, label in rows):
        raise UsageError(f"{where}: no rows, or one without a text or a label; mend it")
    return [Text(text, label, text) for text, label in rows]


def synthetic(count: int = 1200) -> Iterator[Text]:
    """Texts that are made and not stored: each has seven words of 300, and one that tells its label."""
    drawn = integers(np.arange(count * 10), below=300, seed=0, epoch=0, purpose="synopsis").reshape(count, 10)
    for number, (first, place, *row) in enumerate(drawn.tolist()):
        label = f"s{first % 6 % 5}"  # one is twice as frequent as the others
        words = [label if each == place % 8 else str(word) for each, word in enumerate(row)]
        yield Text(" ".join(words), label, f"source-{number // 2}")


def _part(group: str) -> int:
    return int.from_bytes(hashlib.sha256(group.encode(errors="replace")).digest()[:4], "big") % HELD_OUT
