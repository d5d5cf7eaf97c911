"""Texts with labels as a data set of tokens, dealt out by groups."""

import hashlib
import json
import sys
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from samebench.core.command import UsageError
from samebench.data import fetch
from samebench.data.csv_rows import REMEDY, CsvRows
from samebench.data.source import Source
from samebench.tasks.text_classification.tokens import BUCKETS, LENGTH, tokenize
from samebench.training.sample_random import integers
from samebench.training.tensor_dataset import CHUNK, TensorDataset, TensorSpool, batched, chunks

FILE = "texts.csv"
HELD_OUT = 12  # one group of so many is for the test, and one for the validation


class Text(NamedTuple):
    """A text, its label, and what it has in common with others: texts of one group are in one part."""

    text: str
    label: str
    group: str


class TextData:
    """Texts in three parts. Texts of one group are in one part, and of texts with equal tokens one is there.

    An example is `tokens` (LENGTH,) int32, a label, and a weight that is higher for rare labels. The tokens are on the
    disk; memory has some 130 bytes of each text.
    """

    warning = ""

    def __init__(self, texts: Iterable[Text], *, where: object) -> None:
        """Deal the texts out by a hash of their groups. Raises UsageError if a part stays empty."""
        tokens, places, label_names, parts = _read(texts, where=where)
        self.labels = sorted({*label_names})
        numbers = {name: number for number, name in enumerate(self.labels)}
        labels = np.fromiter(map(numbers.__getitem__, label_names), np.int64, len(parts))
        masks = (parts > 1, parts == 1, parts == 0)
        if not all(mask.any() for mask in masks):
            raise UsageError(f"{where}: {len(parts)} texts, too few for training, validation and test; give more")
        counts = np.bincount(labels[masks[0]], minlength=len(self.labels))
        weights = np.sqrt(counts.mean() / counts.clip(1)).astype(np.float32)
        spools = [TensorSpool() for _ in masks]
        content = hashlib.sha256(json.dumps(self.spec).encode())
        for chunk in chunks(len(parts)):
            rows = tokens[places[chunk]]
            content.update(rows.tobytes())
            for mask, spool in zip(masks, spools, strict=True):
                chosen, of_chosen = mask[chunk], labels[chunk][mask[chunk]]
                spool.append({"tokens": rows[chosen], "labels": of_chosen, "weights": weights[of_chosen]})
        content.update(labels.tobytes() + parts.tobytes())
        self.version = content.hexdigest()
        self.training, self.validation, self._test = (spool.to_dataset() for spool in spools)

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
        return TextData(synthetic(), where=name)
    source = Source.of(name)
    if source.has_versions() and source.is_known():
        fetch.fetch_dataset(source.name)
    path = source.verified_path(FILE)
    return TextData(read_csv(path), where=path)


def read_csv(path: Path) -> Iterator[Text]:
    """The texts of a CSV with the columns text and label. Raises UsageError for anything else."""
    rows = CsvRows(path)
    if missing := {"text", "label"} - {*rows.names}:
        raise UsageError(f"{path}: no column {min(missing)}; {REMEDY}: text,label")
    for place, row in enumerate(rows, start=2):
        if not row["text"] or not row["label"]:
            raise UsageError(f"{path}, row {place}: without a text or a label; mend it")
        yield Text(row["text"], row["label"], row["text"])


def synthetic(count: int = 1200) -> Iterator[Text]:
    """Texts that are made and not stored: each has seven words of 300, and one that tells its label."""
    drawn = integers(np.arange(count * 10), below=300, seed=0, epoch=0, purpose="synopsis").reshape(count, 10)
    for number, (first, place, *row) in enumerate(drawn.tolist()):
        label = f"s{first % 6 % 5}"  # one is twice as frequent as the others
        words = [label if each == place % 8 else str(word) for each, word in enumerate(row)]
        yield Text(" ".join(words), label, f"source-{number // 2}")


def _read(
    texts: Iterable[Text], *, where: object
) -> tuple[NDArray[np.int32], NDArray[np.int64], list[str], NDArray[np.int64]]:
    """The tokens (N, LENGTH) of all texts, and of the different ones (M,) places, labels and parts.

    The first of equal texts counts, at the place of the last one, and the order is reversed.
    """
    spool, labels, parts, hashes = TensorSpool(), list[str](), array("B"), bytearray()
    for some in batched(texts, CHUNK):
        rows = np.array([tokenize(each.text) for each in some], np.int32)
        spool.append({"tokens": rows})
        labels += [sys.intern(each.label) for each in some]
        parts.extend(_part(each.group) for each in some)
        hashes += b"".join(hashlib.sha256(row).digest()[:16] for row in rows)
    if not labels:
        raise UsageError(f"{where}: no texts; give some")
    keys = np.frombuffer(bytes(hashes), "S16")
    first = np.unique(keys, return_index=True)[1]
    last = len(keys) - 1 - np.unique(keys[::-1], return_index=True)[1]
    places = first[np.argsort(-last)]
    tokens = spool.to_dataset()["tokens"].numpy()
    return tokens, places, [labels[place] for place in places], np.array(parts, np.int64)[places]


def _part(group: str) -> int:
    return int.from_bytes(hashlib.sha256(group.encode(errors="replace")).digest()[:4], "big") % HELD_OUT
