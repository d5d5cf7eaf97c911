"""The data set that `make data-import` makes: one sealed file of tensors, a report beside it, and their hashes in git.

data/shoes/dataset.safetensors    images, labels, parts, and all that there is to know of them
data/shoes/report.csv             what the import found
data/shoes.sha256                 what git keeps: both, as sha256sum lists them
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samebench import project
from samebench.core.command import UsageError
from samebench.data import checked_safetensors, dataset_files, digests, fetch, source
from samebench.data.diff import Example
from samebench.data.listing import is_set_name
from samebench.data.record_reader import RecordReader
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.tasks.image_classification.image_sources import label_problem
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing

FILE, REPORT = "dataset.safetensors", "report.csv"
KIND = "dataset"
VERSION_RULE = "data version, rule 1"  # another number where Data computes versions in another way
LARGE = 1 << 30  # bytes of images that are read one by one, and not mapped, in a random order
PARTS = ("training", "validation", "test")  # by their numbers


class ImageEntry(NamedTuple):
    """What a data set says of an image: its class, its part, and where it was found."""

    label: str
    part: int
    name: str


ReadPixels = Callable[[int], NDArray[np.uint8]]  # of an image by its place: (1, H, W) if it is grey, (3, H, W) if not


@dataclass(frozen=True, kw_only=True)
class ImageDataset:
    """Images (N, C, H, W) uint8, C 1 or 3 and H = W, their labels (N,) int64 and parts (N,) uint8, 0 to 2."""

    images: Tensor
    labels: Tensor
    parts: Tensor
    categories: tuple[str, ...]  # the names of the labels in the order of their numbers
    names: tuple[str, ...]  # where each image was found, relative, POSIX
    preparation: ImageTransform
    preprocessing: Preprocessing  # the statistics of the training part
    path: Path | None = None  # of the file that it was loaded from

    @classmethod
    def create(cls, path: Path, entries: Sequence[ImageEntry], read: ReadPixels, *, side: int) -> Self:
        """Write the set of these images to `path`: grey if all of them are, else in colour.

        Test images come first, then those for validation; within a part they stay in their order. `read` is called
        twice for each image, and no more than one is in memory at a time. Raises ValueError for too few images.
        """
        counts, channels = np.zeros((3, 256), np.int64), 1
        for place, entry in enumerate(entries):
            pixels = read(place)
            channels = max(channels, len(pixels))
            if entry.part == 0:
                counts += [np.bincount(levels.ravel(), minlength=256) for levels in pixels]
        places = sorted(range(len(entries)), key=lambda place: -entries[place].part)
        ordered = [entries[place] for place in places]
        numbers = {label: number for number, label in enumerate(sorted({each.label for each in entries}))}
        dataset = cls(
            images=torch.zeros(1, dtype=torch.uint8).expand(len(entries), channels, side, side),
            labels=torch.tensor([numbers[each.label] for each in ordered], dtype=torch.int64),
            parts=torch.tensor([each.part for each in ordered], dtype=torch.uint8),
            categories=tuple(numbers),
            names=tuple(each.name for each in ordered),
            preparation=ImageTransform(side, channels),
            preprocessing=Preprocessing.of_counts(torch.from_numpy(counts[:channels])),
        )
        dataset.check()
        pieces = (np.broadcast_to(read(place), (channels, side, side)).tobytes() for place in places)
        checked_safetensors.stream(path, KIND, dataset._tensors(), dataset._facts(), pieces={"images": pieces})
        tensors, _ = checked_safetensors.open_mapped(path, KIND, is_verified=True)
        return replace(dataset, images=tensors["images"])

    @property
    def sizes(self) -> dict[str, int]:
        """How many images each part has."""
        return dict(zip(PARTS, torch.bincount(self.parts, minlength=len(PARTS)).tolist(), strict=True))

    @property
    def balance(self) -> dict[str, int]:
        """How many images each category has."""
        counts = torch.bincount(self.labels, minlength=len(self.categories)).tolist()
        return dict(zip(self.categories, counts, strict=True))

    def dumps(self) -> bytes:
        """The sealed file's content: the same for the same images."""
        return checked_safetensors.dumps(KIND, self._tensors(), self._facts())

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in ("images", "labels", "parts")}

    def _facts(self) -> dict[str, Any]:
        return {
            "labels": list(self.categories),
            "names": list(self.names),
            **{name: np.atleast_1d(value).tolist() for name, value in self.preprocessing.to_dict().items()},
            "balance": self.balance,
            "preparation": self.preparation.name,
        }

    @classmethod
    def load(cls, path: Path, *, is_verified: bool = False) -> Self:
        """The one at `path`, its images a map of the file.

        Raises UsageError for a missing, damaged or impossible one; the first two unparsed. The seal is checked unless
        `is_verified`.
        """
        tensors, facts = checked_safetensors.open_mapped(path, KIND, is_verified=is_verified)
        try:
            _, channels, side, _ = tensors["images"].shape
            dataset = cls(
                images=tensors["images"],
                labels=tensors["labels"],
                parts=tensors["parts"],
                categories=_texts(facts["labels"]),
                names=_texts(facts["names"]),
                preparation=ImageTransform.from_dict(
                    {"preparation": facts["preparation"], "side": side, "channels": channels}
                ),
                preprocessing=Preprocessing.from_dict(facts, channels=channels),
                path=path,
            )
            dataset.check()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}: not a data set of this code ({error}); import it again") from error
        return dataset

    def to_data(self, version: str = "") -> Data:
        """The images of each part, for a training. `version` is computed unless it is given."""
        training, validation, test = map(self._split, range(len(PARTS)))
        return Data(
            training,
            test,
            validation=validation,
            labels=self.categories,
            preparation=self.preparation,
            preprocessing=self.preprocessing,
            version=version,
        )

    def _split(self, part: int) -> Split:
        """The images of a part: no copy of them where they lie side by side, as in every set that `create` wrote."""
        places = (self.parts == part).nonzero().squeeze(1)
        first, last = int(places[0]), int(places[-1])
        if last - first + 1 != len(places):
            return Split(self.images[places], self.labels[places])
        side_by_side = slice(first, last + 1)
        return Split(self.images[side_by_side], self.labels[side_by_side], reader=self._reader(first))

    def _reader(self, first: int) -> RecordReader | None:
        """Reads the images from place `first` on, if the file is large."""
        if self.path is None or self.images.nbytes < LARGE:
            return None
        size = self.images[0].nbytes
        start = checked_safetensors.tensor_offset(self.path, "images") + first * size
        return RecordReader(self.path, start=start, record_bytes=size)

    def check(self) -> None:
        """Raise ValueError where its parts don't fit together."""
        count = len(self.images)
        shape = (count, self.preparation.channels, self.preparation.side, self.preparation.side)
        right = {
            "images": (torch.uint8, shape),
            "labels": (torch.int64, (count,)),
            "parts": (torch.uint8, (count,)),
        }
        for name, (kind, size) in right.items():
            tensor: Tensor = getattr(self, name)
            if tensor.dtype != kind or tuple(tensor.shape) != size:
                raise ValueError(f"{name}: {tensor.dtype} {tuple(tensor.shape)}, expected {kind} {size}")
        numbers = len(self.categories)
        if not count or int(self.labels.min()) < 0 or int(self.labels.max()) >= numbers or len(self.names) != count:
            raise ValueError(f"{count} images, {len(self.names)} names, labels not from 0 to {numbers - 1}")
        if problem := next(filter(None, map(label_problem, self.categories)), ""):
            raise ValueError(problem)
        if len(set(self.categories)) != numbers:
            raise ValueError("a label is there twice")
        if missing := [name for name, size in self.sizes.items() if not size]:
            raise ValueError(f"no {' and no '.join(missing)} images")


def _texts(values: object) -> tuple[str, ...]:
    """A list of texts. Raises TypeError for anything else."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("labels or names that are no list of texts")
    return tuple(values)


def is_imported(name: str) -> bool:
    """Whether an import has made the data set of this name, its bytes here or not."""
    dataset_files.finish(name)
    return (
        is_set_name(name)
        and name not in project.reserved_dataset_names()
        and (source.LISTINGS / f"{name}.sha256").is_file()
    )


def load(name: str) -> Data:
    """The data set of this name, fetched if it is not here. Raises UsageError where there is none, or a damaged one."""
    if not is_imported(name):
        sets = ", ".join(source.dataset_names())
        raise UsageError(f"data {name}: no set of that name; there are {sets}; or import it: make data-import")
    fetch.fetch_dataset(name)
    with dataset_files.verified(name, FILE) as path:
        dataset = ImageDataset.load(path, is_verified=True)
        version = digests.remember(path, VERSION_RULE, lambda: dataset.to_data().version)
        return dataset.to_data(version)


def read(name: str) -> ImageDataset:
    """The data set of this name. Raises UsageError where it is not there, or not the one whose hash is in git."""
    with dataset_files.verified(name, FILE) as path:
        return ImageDataset.load(path, is_verified=True)


def read_examples(folder: Path) -> list[Example]:
    """The images of the set in `folder`, in any version. Raises UsageError where it is missing or damaged."""
    dataset = ImageDataset.load(folder / FILE)
    parts = [PARTS[number] for number in dataset.parts.tolist()]
    return make_examples(dataset.images, dataset.labels, dataset.categories, parts, dataset.names)


def make_examples(
    images: Tensor, labels: Tensor, categories: Sequence[str], parts: Sequence[str], names: Sequence[str]
) -> list[Example]:
    """Images (N, C, H, W) with their labels (N,), parts and names, each known by the SHA-256 of its pixels."""
    shape = str(tuple(images.shape[1:])).encode()
    contents = [hashlib.sha256(shape + image.tobytes()).hexdigest() for image in images.numpy()]
    rows = zip(contents, labels.tolist(), parts, names, strict=True)
    return [Example(content, categories[label], part, name) for content, label, part, name in rows]
