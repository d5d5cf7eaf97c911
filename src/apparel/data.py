"""Fashion-MNIST, a synthetic set of the same form, and the data sets that `make data-import` has made."""

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from apparel.serving.garment import GARMENTS
from apparel.sources import LARGEST, NAME
from samebench.core.command import UsageError
from samebench.data import fetch
from samebench.data.diff import Example
from samebench.data.source import LISTINGS, Source
from samebench.tasks.image_classification import image_data, image_dataset
from samebench.tasks.image_classification.image_data import Data, Split

SYNTHETIC = "synthetic"
HOME = LISTINGS / NAME

# Xiao, Rasul and Vollgraf, Fashion-MNIST (2017), table 1.
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
SIDE = 28
KINDS = ("images-idx3", "labels-idx1")


def load(name: str) -> Data:
    """The data set that the setting `data` names: fashion-mnist, synthetic, one of one's own, or a directory.

    What is missing is fetched first. Every file is checked against the hashes in git. Raises UsageError for one that
    is missing or differs.
    """
    if name == SYNTHETIC:
        return synthetic(0)
    if name == NAME:
        fetch.fetch_dataset(NAME)
    elif image_dataset.is_imported(name) or not Path(name).is_dir():
        return image_dataset.load(name)
    training, test = (_read_split(Source.of(name), part) for part in ("train", "t10k"))
    return Data(training, test, labels=LABELS, preparation=GARMENTS)


def _read_split(files: Source, part: str) -> Split:
    names = (f"{part}-{kind}-ubyte" for kind in KINDS)
    return Split(*(read_idx(files.read(name, max_bytes=LARGEST)) for name in names))


def read_idx(content: bytes) -> Tensor:
    """A tensor from the idx format of LeCun's MNIST page: images (N, 1, 28, 28) uint8, or labels (N,) int64.

    Raises UsageError for another magic number, another image size, or another length than it tells.
    """
    magic = int.from_bytes(content[:4], "big")
    sizes = {0x0801: 1, 0x0803: 3}.get(magic)
    if sizes is None:
        raise UsageError(f"idx file: magic number {magic:#010x}, expected 0x00000801 or 0x00000803; fetch it again")
    start = 4 + 4 * sizes
    if len(content) < start:
        raise UsageError(f"idx file: {len(content)} bytes, too short for its header of {start}; fetch it again")
    shape = struct.unpack(f">{sizes}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise UsageError(f"idx file: {len(content)} bytes, expected {start + math.prod(shape)}; fetch it again")
    values = torch.from_numpy(np.frombuffer(content, dtype=np.uint8, offset=start).copy())
    if sizes == 1:
        return values.to(torch.int64)
    if shape[1:] != (SIDE, SIDE):
        raise UsageError(f"idx file: images of {shape[1]}x{shape[2]}, expected {SIDE}x{SIDE}; fetch it again")
    return values.view(-1, 1, SIDE, SIDE)


def read_examples(folder: Path) -> list[Example]:
    """Every image of the four files in `folder`, for `make data-diff`. Raises UsageError where one is missing."""
    return [example for part in ("train", "t10k") for example in _read_part(folder, part)]


def _read_part(folder: Path, part: str) -> list[Example]:
    paths = [folder / f"{part}-{kind}-ubyte" for kind in KINDS]
    for path in paths:
        if not path.is_file():
            raise UsageError(f"{path}: not there; make data DATASET={folder.name} first")
    images, labels = (read_idx(path.read_bytes()) for path in paths)
    if len(images) != len(labels) or bool((labels >= len(LABELS)).any()):
        what = f"{len(images)} images and {len(labels)} labels in the part {part}"
        raise UsageError(f"{folder}: {what}; mend one of the files")
    places = [str(place) for place in range(len(labels))]
    parts = ["training" if part == "train" else "test"] * len(labels)
    return image_dataset.make_examples(images, labels, LABELS, parts, places)


def synthetic(seed: int, *, training: int = 1200, test: int = 200) -> Data:
    """A learnable set of the same shapes, made and not stored."""
    return image_data.synthetic(LABELS, GARMENTS, seed=seed, training=training, test=test)
