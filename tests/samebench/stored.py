"""Data sets as an import of one's own pictures writes them."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from samebench.data import checked_safetensors
from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.image_dataset import FILE, REPORT, ImageDataset
from samebench.tasks.image_classification.preprocessing import Preprocessing
from tiny.data import LABELS


def pixels(seed: int, count: int, *, side: int = 28) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)


def sealed_set(
    pictures: Tensor, labels: list[int], *, test: int = 2, names: list[str] | None = None
) -> dict[str, bytes]:
    """The sealed file of these pictures; the first is for validation, the last `test` are the test images."""
    parts = torch.tensor([1] + [0] * (len(labels) - test - 1) + [2] * test, dtype=torch.uint8)
    tensors = {"images": pictures, "labels": torch.tensor(labels), "parts": parts}
    facts = {
        "labels": list(LABELS),
        "names": names or [f"{number}.png" for number in range(len(labels))],
        "mean": [0.5],
        "deviation": [0.5],
        "balance": {},
        "preparation": "plain",
    }
    return {FILE: checked_safetensors.dumps("dataset", tensors, facts)}


def store(folder: Path, known: Data, *, listing: Path) -> None:
    """The files of a data set in `folder`, and the listing of their hashes."""
    folder.mkdir(exist_ok=True)
    splits = [known.training, known.validation, known.test()]
    sizes = torch.tensor([len(split) for split in splits])
    dataset = ImageDataset(
        images=torch.cat([split.images for split in splits]),
        labels=torch.cat([split.labels for split in splits]),
        parts=torch.arange(3, dtype=torch.uint8).repeat_interleave(sizes),
        categories=known.labels,
        names=tuple(f"{number}.png" for number in range(int(sizes.sum()))),
        preparation=known.preparation,
        preprocessing=Preprocessing.of(known.training.images),
    )
    contents = {FILE: dataset.dumps(), REPORT: b"picture,problem\n"}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    listing.write_text(
        "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in contents.items())
    )
