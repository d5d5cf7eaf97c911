"""The packages of a Debian release: the synopsis of each, as tokens, and its section."""

import hashlib
import json
import lzma
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import fetch
from samebench.data.source import Source
from samebench.training.sample_random import integers
from samebench.training.tensor_dataset import TensorDataset
from sections.serving import BUCKETS, LENGTH, tokenize

NAME, SYNTHETIC, FILE = "debian-bookworm", "synthetic", "Packages.xz"
MAX_BYTES = 256 << 20  # of the unpacked index and for unpacking it; bookworm's has 50 MB
FIELD = re.compile(r"^(Package|Source|Section|Description): (.+)$", re.MULTILINE)
NAME_FORM = re.compile(r"[a-z0-9][a-z0-9+.-]{0,100}")  # of a section or a source
HELD_OUT = 12  # one source package of so many is for the test, and one for the validation


class Package(NamedTuple):
    """A binary package."""

    source: str
    section: str
    synopsis: str


class Data:
    """The packages in three parts. Binary packages of one source are in one part, and no text is there twice.

    An example is `tokens` (LENGTH,) int32, a label, and a weight that is higher in rare sections.
    """

    warning = ""

    def __init__(self, packages: list[Package]) -> None:
        """Deal the packages out by a hash of their source's name."""
        different = {tuple(tokenize(each.synopsis)): each for each in reversed(packages)}  # the first of a text stays
        self.labels = sorted({each.section for each in different.values()})
        tokens = torch.tensor(list(different), dtype=torch.int32)
        labels = torch.tensor([self.labels.index(each.section) for each in different.values()])
        parts = torch.tensor([_part(each.source) for each in different.values()])
        counts = torch.bincount(labels[parts > 1], minlength=len(self.labels)).double()
        weights = torch.sqrt(counts.mean() / counts.clamp_min(1)).float()[labels]
        examples = TensorDataset({"tokens": tokens, "labels": labels, "weights": weights})
        masks = (parts > 1, parts == 1, parts == 0)
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


def load(name: str) -> Data:
    """The data set that the setting `data` names. Raises UsageError for a missing or damaged one."""
    if name == SYNTHETIC:
        return Data(list(synthetic()))
    if name == NAME:
        fetch.fetch_dataset(NAME)
    source = Source.of(name)
    return Data(read_index(source.read(FILE, max_bytes=MAX_BYTES), where=source.path(FILE)))


def read_index(packed: bytes, *, where: object) -> list[Package]:
    """The packages in a Packages.xz. Raises UsageError for anything else."""
    remedy = "take a Packages.xz as Debian publishes it"
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_BYTES)
        text = unpacker.decompress(packed, MAX_BYTES).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {error}; {remedy}") from error
    if not unpacker.eof:
        raise UsageError(f"{where}: cut off, or more than {MAX_BYTES:,} bytes; {remedy}")
    packages = []
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = dict(FIELD.findall(paragraph))
        if not fields.keys() >= {"Package", "Section", "Description"}:
            continue
        section = fields["Section"].rpartition("/")[2]
        source = fields.get("Source", fields["Package"]).partition(" ")[0]
        for what, name in (("section", section), ("source", source)):
            if not NAME_FORM.fullmatch(name):
                raise UsageError(f"{where}: {printable(repr(name), longest=80)} is no {what}; {remedy}")
        packages.append(Package(source, section, fields["Description"]))
    if not packages:
        raise UsageError(f"{where}: no packages; {remedy}")
    return packages


def synthetic(count: int = 1200) -> Iterator[Package]:
    """Packages that are made and not stored: a synopsis has seven words of 300, and one that tells its section."""
    drawn = integers(np.arange(count * 10), below=300, seed=0, epoch=0, purpose="synopsis").reshape(count, 10)
    for number, (first, place, *row) in enumerate(drawn.tolist()):
        section = f"s{first % 6 % 5}"  # one is twice as frequent as the others
        words = [section if each == place % 8 else str(word) for each, word in enumerate(row)]
        yield Package(f"source-{number // 2}", section, " ".join(words))


def _part(source: str) -> int:
    return int.from_bytes(hashlib.sha256(source.encode()).digest()[:4], "big") % HELD_OUT
