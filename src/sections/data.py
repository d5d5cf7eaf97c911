"""The packages of a Debian release: the synopsis of each, as tokens, and its section."""

import hashlib
import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import checkout, download, versions
from samebench.training.sample_random import integers
from sections.tokens import BUCKETS, LENGTH, tokenize

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


@dataclass(frozen=True)
class Examples:
    """Tokens (N, LENGTH) int32, labels (N,) int64, and weights (N,) float32 that are higher in rare sections."""

    tokens: Tensor
    labels: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Number of packages."""
        return len(self.labels)

    def get_batch(self, indices: Tensor) -> dict[str, Tensor]:
        """All three at `indices` (M,)."""
        return {name: tensor[indices] for name, tensor in vars(self).items()}

    def to(self, device: torch.device) -> "Examples":
        """The same on a device."""
        return Examples(*(tensor.to(device) for tensor in vars(self).values()))


class Data:
    """The packages in three parts. Binary packages of one source are in one part, and no text is there twice."""

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
        chosen = (parts > 1, parts == 1, parts == 0)
        self.training, self.validation, self._test = (
            Examples(tokens[each], labels[each], weights[each]) for each in chosen
        )
        content = hashlib.sha256(json.dumps(self.spec).encode())
        for tensor in (tokens, labels, parts):
            content.update(tensor.numpy().tobytes())
        self.version = content.hexdigest()

    @property
    def spec(self) -> dict[str, Any]:
        """What a model of this data must know."""
        return {"labels": self.labels, "buckets": BUCKETS, "length": LENGTH}

    def test(self) -> Examples:
        """The test examples, which no choice may depend on."""
        return self._test


def load(name: str) -> Data:
    """The data set that the setting `data` names. Raises UsageError for a missing or damaged one."""
    if name == SYNTHETIC:
        return Data(list(synthetic()))
    version = versions.load_version(NAME)
    folder = versions.folder_of(NAME) if name == NAME else Path(name)
    if name == NAME:
        checkout.check_out(version, folder)
    elif not folder.is_dir():
        raise UsageError(f"data {name}: no such set or directory; take {NAME}, {SYNTHETIC}, or DATA=<directory>")
    path = folder / FILE
    if not path.is_file():
        raise UsageError(f"{path}: not there; give the directory of {FILE}")
    download.check(path, sha256=version.listing[FILE])
    return Data(read_index(path.read_bytes(), where=path))


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
