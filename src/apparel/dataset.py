"""The form of a data set of one's own: one sealed file of tensors, a report beside it, and their hashes in git.

data/shoes/dataset.safetensors    images, labels, parts, and all that there is to know of them
data/shoes/report.csv             what the import found
data/shoes.sha256                 what git keeps: both, as sha256sum lists them
"""

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from apparel.serving.garment import transform_from_dict
from samebench.core import file_lock, files, untrusted
from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.data.listing import read as read_listing
from samebench.data.source import LISTINGS, default_name, is_generated
from samebench.tasks.image_classification.image_sources import label_problem
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing

HOME = LISTINGS
FILE, REPORT = "dataset.safetensors", "report.csv"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PARTS = ("training", "validation", "test")  # by their numbers


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Images (N, C, H, W) uint8, C 1 or 3 and H = W, their labels (N,) int64 and parts (N,) uint8, 0 to 2."""

    images: Tensor
    labels: Tensor
    parts: Tensor
    categories: tuple[str, ...]  # the names of the labels in the order of their numbers
    names: tuple[str, ...]  # where each image was found, relative, POSIX
    preparation: ImageTransform
    preprocessing: Preprocessing  # the statistics of the training part

    @property
    def sizes(self) -> dict[str, int]:
        """How many images each part has."""
        return dict(zip(PARTS, torch.bincount(self.parts, minlength=len(PARTS)).tolist(), strict=True))

    @property
    def balance(self) -> dict[str, int]:
        """How many images each category has."""
        counts = torch.bincount(self.labels, minlength=len(self.categories)).tolist()
        return dict(zip(self.categories, counts, strict=True))

    def pack(self) -> bytes:
        """The sealed file's content: the same for the same images."""
        tensors = {name: getattr(self, name) for name in ("images", "labels", "parts")}
        facts = {
            "labels": list(self.categories),
            "names": list(self.names),
            **{name: np.atleast_1d(value).tolist() for name, value in self.preprocessing.to_dict().items()},
            "balance": self.balance,
            "preparation": self.preparation.name,
        }
        return checked_safetensors.dumps("dataset", tensors, facts)

    @classmethod
    def load(cls, path: Path) -> Self:
        """The one at `path`. Raises UsageError for a missing, damaged or impossible one; the first two unparsed."""
        tensors, facts = checked_safetensors.load(path, "dataset")
        try:
            _, channels, side, _ = tensors["images"].shape
            known = cls(
                images=tensors["images"],
                labels=tensors["labels"],
                parts=tensors["parts"],
                categories=_texts(facts["labels"]),
                names=_texts(facts["names"]),
                preparation=transform_from_dict(
                    {"preparation": facts["preparation"], "side": side, "channels": channels}
                ),
                preprocessing=Preprocessing.from_dict(facts, channels=channels),
            )
            known.check()
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"{path}: not a data set of this code ({error}); import it again") from error
        return known

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


def is_reserved(name: str) -> bool:
    """Whether a data set of this name has a different form: the project's own, or a generated one."""
    return name == default_name() or is_generated(name)


def is_own(name: str, *, home: Path | None = None) -> bool:
    """Whether this is the name of a data set of one's own, its bytes here or not."""
    return bool(NAME.fullmatch(name)) and not is_reserved(name) and ((home or HOME) / f"{name}.sha256").is_file()


def read(name: str, *, home: Path | None = None) -> Dataset:
    """The data set of this name. Raises UsageError where it is not there, or not the one whose hash is in git."""
    home = home or HOME
    path, listing = home / name / FILE, home / f"{name}.sha256"
    with file_lock.exclusive(home):
        _finish(name, home)
        if not path.is_file():
            raise UsageError(f"{path}: not there; fetch it: make data DATASET={name}, or import it again")
        expected = read_listing(listing).get(FILE)
        if (got := files.digest(path)) != expected:
            raise UsageError(
                f"{path}: expected sha256 {expected}, got {got}; make data DATASET={name}, or import it again"
            )
        return Dataset.load(path)


def write(name: str, dataset: Dataset, report: bytes, *, home: Path | None = None) -> None:
    """Put a data set into `home`, in place of one of that name; a kill leaves the old one or the new one.

    Both files and the listing are put aside first; a rename makes them valid, and whoever comes next finishes.
    """
    home = home or HOME
    contents = {FILE: dataset.pack(), REPORT: report}
    listing = "".join(f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in contents.items())
    home.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(home):
        _finish(name, home)
        aside = untrusted.path_inside(home, f".{name}.part", where=home)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            for file, content in {**contents, f"{name}.sha256": listing.encode()}.items():
                files.write(aside / file, content)
            aside.rename(_valid(name, home))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        files.sync_directory(home)
        _finish(name, home)


def finish(name: str, *, home: Path | None = None) -> None:
    """Finish what an import that was killed has left valid."""
    home = home or HOME
    if NAME.fullmatch(name) and _valid(name, home).is_dir():
        with file_lock.exclusive(home):
            _finish(name, home)


def _finish(name: str, home: Path) -> None:
    """Put what is valid into its place, where it has not come to it."""
    valid = _valid(name, home)
    for folder in (home / name, valid):
        untrusted.refuse_links(folder)
    if not valid.is_dir():
        return
    (home / name).mkdir(exist_ok=True)
    for path in list(valid.iterdir()):
        path.replace(home / path.name if path.suffix == ".sha256" else home / name / path.name)
    files.sync_directory(home / name)
    files.sync_directory(home)
    valid.rmdir()


def _valid(name: str, home: Path) -> Path:
    return home / f".{name}.new"
