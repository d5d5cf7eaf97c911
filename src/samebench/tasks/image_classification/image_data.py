"""Images with their labels, in memory or mapped: what an image classifier is trained on."""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from samebench.data.record_reader import RecordReader
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training.sample_random import order, uniform

VALIDATION_SHARE = 1 / 12  # of the training images, of each label


@dataclass(frozen=True)
class Split:
    """Images (N, C, H, W) uint8 and their labels (N,) int64, from 0."""

    images: Tensor
    labels: Tensor
    reader: RecordReader | None = field(
        default=None, kw_only=True
    )  # of the same images, for a random order, where the file is large

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def get_batch(self, indices: Tensor) -> dict[str, Tensor]:
        """`images` and `labels` at `indices` (M,)."""
        if self.reader is None:
            return {"images": self.images[indices], "labels": self.labels[indices]}
        records = torch.from_numpy(self.reader.read(indices.numpy()))
        return {"images": records.view(-1, *self.images.shape[1:]), "labels": self.labels[indices]}

    def select(self, indices: Tensor) -> "Split":
        """The images at `indices` (M,)."""
        batch = self.get_batch(indices)
        return Split(batch["images"], batch["labels"])

    def to(self, device: torch.device) -> "Split":
        """The same on a device."""
        if device.type == "cpu":
            return self
        return Split(self.images.to(device), self.labels.to(device))

    def levels(self) -> list[list[int]]:
        """The lowest and the highest level in each channel, 0 to 255."""
        lowest, highest = torch.aminmax(self.images.flatten(2), dim=2)
        return torch.stack([lowest.amin(0), highest.amax(0)], dim=1).tolist()

    def digest(self) -> str:
        """SHA-256 over shape, images and labels."""
        content = hashlib.sha256(str(tuple(self.images.shape)).encode())
        content.update(self.images.contiguous().numpy().data)
        few = not len(self.labels) or int(self.labels.max()) < 256  # then a byte each, as ever
        content.update(self.labels.to(torch.uint8 if few else torch.int64).numpy().tobytes())
        return content.hexdigest()


class Data:
    """A data set: `training` and `validation` to learn and choose, `test()` to be asked once at the end."""

    def __init__(
        self,
        training: Split,
        test: Split,
        *,
        validation: Split | None = None,
        labels: Sequence[str],
        preparation: ImageTransform,
        preprocessing: Preprocessing | None = None,
        version: str = "",
    ) -> None:
        """Take the validation images, unless given, out of `training`: every twelfth of each category in a fixed order.

        `labels` are the names in the order of the numbers; `preprocessing` is that of the training images; `version`
        is computed unless it is given.
        """
        self._test, self._preprocessing = test, preprocessing
        self.labels, self.preparation = tuple(labels), preparation
        splits = [training, test] if validation is None else [training, test, validation]
        if not version:
            parts = "".join(split.digest() for split in splits)
            parts += "" if validation is None else json.dumps([self.labels, preparation.to_dict()])
            version = hashlib.sha256(parts.encode()).hexdigest()
        if validation is None:
            chosen = validation_mask(training.labels)
            training, validation = (training.select(each.nonzero().squeeze(1)) for each in (~chosen, chosen))
        self.training, self.validation, self.version = training, validation, version

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The statistics of the training images: as they were written down with the set, else as they are."""
        return (self._preprocessing or Preprocessing.of(self.training.images)).with_min_deviation()

    @property
    def spec(self) -> dict[str, Any]:
        """What a model of this data must know."""
        return {"labels": list(self.labels), **self.preprocessing.to_dict(), **self.preparation.to_dict()}

    @property
    def warning(self) -> str:
        """What to say of the data before a training; empty without one."""
        return self.preprocessing.warning

    def test(self) -> Split:
        """The test images, which no choice may depend on."""
        return self._test

    def subset(self, images: int) -> "Data":
        """`images` of the training images, the same each time; `test()` gives the validation images of the whole.

        A twelfth of them is held out for validation. Of a set that has no more all are taken, and its own validation
        images.
        """
        validation = self.validation if len(self.training) <= images else None
        drawn = order(len(self.training), seed=0, epoch=0, purpose="part")[:images]
        training = self.training if validation else self.training.select(drawn)
        return Data(training, self.validation, validation=validation, labels=self.labels, preparation=self.preparation)


def synthetic(
    labels: Sequence[str], preparation: ImageTransform, *, seed: int = 0, training: int = 1200, test: int = 200
) -> Data:
    """A learnable set of grey images, made and not stored: for each label a blurred blot under noise."""
    side = preparation.side
    cells = side // 4
    draws = uniform(np.arange(len(labels) * cells**2), seed=seed, epoch=0, purpose="template")
    coarse = torch.from_numpy(draws).float().view(-1, 1, cells, cells)
    templates = coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    splits = []
    for epoch, count in enumerate([training, test]):
        numbers = torch.arange(count) % len(labels)
        draws = uniform(np.arange(count * side**2), seed=seed, epoch=epoch, purpose="noise")
        noise = torch.from_numpy(draws).float().view(-1, 1, side, side)
        splits.append(Split((255 * (0.6 * templates[numbers] + 0.4 * noise)).to(torch.uint8), numbers))
    return Data(*splits, labels=labels, preparation=preparation)


def validation_mask(labels: Tensor) -> Tensor:
    """Which of the training images (N,) are held out: 1/12 of each category, always the same ones.

    The order does not depend on the run's seed, so that runs with different seeds can be compared.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    drawn = order(len(labels), seed=0, epoch=0, purpose="validation")
    for label in range(int(labels.max()) + 1 if len(labels) else 0):
        members = drawn[labels[drawn] == label]
        chosen[members[: math.ceil(len(members) * VALIDATION_SHARE)]] = True
    return chosen
