"""A data set as whole tensors, by reference: hashes in git, bytes outside it.

python -m apparel.data [--dataset NAME]   has every set of data/, or one, in the version that the checkout names
python -m apparel.data DIRECTORY          verifies the four files of Fashion-MNIST in there
"""

import gzip
import hashlib
import math
import struct
import sys
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from apparel import dataset
from apparel.serving.garment import GARMENTS
from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.text import printable
from samebench.data import checkout, debian_package, download, versions
from samebench.data.listing import read as read_listing
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.training.sample_random import uniform

ROOT = Path(__file__).resolve().parents[2]
NAME, SYNTHETIC = "fashion-mnist", "synthetic"
LISTING = ROOT / f"data/{NAME}.sha256"
HOME = ROOT / f"data/{NAME}"
UPSTREAM = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
PACKAGE = "dataset-fashion-mnist"
# What these two have; a team's later version has other bytes.
PUBLISHED = {
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",  # pragma: allowlist secret
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",  # pragma: allowlist secret
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",  # pragma: allowlist secret
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",  # pragma: allowlist secret
}

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
LARGEST = 16 + 60_000 * SIDE * SIDE  # bytes of the largest of the four files: the training images


def load(name: str) -> Data:
    """The data set that the setting `data` names: fashion-mnist, synthetic, one of one's own, or a directory.

    What is missing of fashion-mnist is fetched first. Every file is checked against the hashes in git. Raises
    UsageError for one that is missing or differs.
    """
    if name == SYNTHETIC:
        return synthetic(0)
    dataset.finish(name)
    if dataset.is_own(name):
        ensure_dataset(name, root=dataset.HOME.parent)
        return from_dataset(dataset.read(name))
    folder = Path(name)
    if name == NAME:
        folder = HOME
        ensure_dataset()
    elif not folder.is_dir():
        sets = ", ".join([*versions.dataset_names(ROOT), SYNTHETIC])
        raise UsageError(
            f"data {name}: no set of that name, and no directory; there are {sets}; or give DATA=<directory>"
        )
    contents = {file: _read_checked(folder, file, sha256) for file, sha256 in listing().items()}
    return Data(_split(contents, "train"), _split(contents, "t10k"), labels=LABELS, preparation=GARMENTS)


def from_dataset(known: dataset.Dataset) -> Data:
    """A data set of one's own, its parts as its import has told them."""
    training, validation, test = (
        Split(known.images[known.parts == part], known.labels[known.parts == part])
        for part in range(len(dataset.PARTS))
    )
    return Data(
        training,
        test,
        validation=validation,
        labels=known.categories,
        preparation=known.preparation,
        preprocessing=known.preprocessing,
    )


def _split(contents: dict[str, bytes], part: str) -> Split:
    images = read_idx(contents[f"{part}-images-idx3-ubyte"])
    return Split(images, read_idx(contents[f"{part}-labels-idx1-ubyte"]))


def listing(path: Path = LISTING) -> dict[str, str]:
    """The four file names and the SHA-256 of each, as `sha256sum` lists them."""
    return read_listing(path)


def _read_checked(folder: Path, name: str, sha256: str) -> bytes:
    """The content; `<name>.gz`, as upstream and Debian ship it, will do where `<name>` is not there."""
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.is_file() or not packed.is_file() else packed
    if not path.is_file():
        raise UsageError(f"{path}: not there; give the directory with the four files")
    try:
        with gzip.open(path) if path is packed else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(
            f"{path}: damaged, expected sha256 {sha256}, got no whole gzip file; fetch it again"
        ) from error
    got = hashlib.sha256(content).hexdigest() if len(content) <= LARGEST else f"more than {LARGEST:,} bytes"
    if got != sha256:
        raise UsageError(f"{path}: expected sha256 {sha256}, got {got}; delete it, and fetch it again")
    return content


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


def synthetic(seed: int, *, training: int = 1200, test: int = 200) -> Data:
    """A learnable set of the same shapes, made and not stored: ten blurred blots under noise."""
    draws = uniform(np.arange(len(LABELS) * 49), seed=seed, epoch=0, purpose="template")
    coarse = torch.from_numpy(draws).float().view(-1, 1, 7, 7)
    templates = coarse.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    splits = [_noisy(templates, count, seed=seed, epoch=epoch) for epoch, count in enumerate([training, test])]
    return Data(*splits, labels=LABELS, preparation=GARMENTS)


def _noisy(templates: Tensor, count: int, *, seed: int, epoch: int) -> Split:
    labels = torch.arange(count) % len(LABELS)
    draws = uniform(np.arange(count * SIDE * SIDE), seed=seed, epoch=epoch, purpose="noise")
    noise = torch.from_numpy(draws).float().view(-1, 1, SIDE, SIDE)
    return Split((255 * (0.6 * templates[labels] + 0.4 * noise)).to(torch.uint8), labels)


def ensure_dataset(name: str = NAME, *, root: Path | None = None) -> bool:
    """Have the set `name` in data/, in the version that the checkout names; tell whether anything had to be done.

    The cache is asked first, then the team's remote; for what was published upstream, then Debian's package by name.
    Raises UsageError and RequirementError as `delivery.bring` does.
    """
    root = root or ROOT
    dataset.finish(name, home=root / "data")
    version = versions.load_version(name, root=root)
    return checkout.check_out(
        version, versions.folder_of(name, root=root), root=root, public=fetch_published if name == NAME else None
    )


def fetch_published(folder: Path, missing: Mapping[str, str]) -> None:
    """What upstream or Debian has of these files, into a folder: none of a version that was never published."""
    ours = {name: sha256 for name, sha256 in missing.items() if sha256 in PUBLISHED}
    try:
        for name, sha256 in ours.items():
            download.fetch(folder / name, sha256=sha256, sources=[f"{UPSTREAM}/{name}.gz"], max_bytes=LARGEST)
    except (download.UnreachableError, UsageError) as reason:
        print(f"{reason}\ntaking Debian's package {PACKAGE} instead", flush=True)
        _from_debian(folder, {name: sha256 for name, sha256 in ours.items() if not (folder / name).exists()})


def _from_debian(folder: Path, missing: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory(prefix="samebench-") as temporary:
        root = debian_package.extract(PACKAGE, into=Path(temporary))
        for name, sha256 in missing.items():
            packed = next(root.rglob(f"{name}.gz"), root / f"{name}.gz")
            download.fetch(folder / name, sha256=sha256, sources=[packed.as_uri()], max_bytes=LARGEST)


def main(argv: Sequence[str]) -> None:
    """Provide every set, or the one that is named; or verify the directory given, and write nothing there."""
    match argv:
        case [] | ["--dataset", _]:
            failures = []
            for name in argv[1:] or versions.dataset_names(ROOT):
                try:
                    done = "brought" if ensure_dataset(name) else "already there"
                    number = len(versions.load_version(name, root=ROOT).listing)
                    print(f"data/{name}: {done}, {number} files, all hashes right", flush=True)
                except (UsageError, RequirementError) as reason:  # the others come nevertheless
                    failures.append(reason)
            for each in failures[:-1]:
                print(f"error: {printable(each)}", file=sys.stderr)
            if failures:
                raise failures[-1]
        case [directory] if not directory.startswith("-"):
            known = load(directory)
            print(f"{directory}: whole, {len(known.labels)} categories, version {known.version[:12]}")
        case _:
            usage = "python -m apparel.data [--dataset NAME | DIRECTORY]"
            raise UsageError(f"unknown words {' '.join(argv)}; usage: {usage}")


if __name__ == "__main__":
    command.run(main)
