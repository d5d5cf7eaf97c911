"""How the seconds and the memory grow with the size: images of a training, files of an import, runs of a listing."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tests.samebench.checkout import copy_checkout
from tests.samebench.recorded import write_run

from benchmarks._child import Usage, measure
from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.environment import determinism
from samebench.settings import setting_field
from samebench.tasks.image_classification.image_dataset import FILE, ImageDataset, ImageEntry

SIDE, CLASSES = 28, 10
HELD_OUT = 10  # of so many images one is for validation and one for the test

TRAIN = """
import sys
from pathlib import Path
from samebench.environment import determinism

determinism.reexecute(fast=False)
determinism.pin()
from apparel.settings import Settings
from samebench.tasks.image_classification.image_dataset import ImageDataset
from samebench.training import trial

trial.train(Settings(network="linear", epochs=1), ImageDataset.load(Path(sys.argv[1])).to_data())
"""
IMPORT = """
import sys
from pathlib import Path
from samebench.tasks.image_classification.image_import import import_images

import_images(Path(sys.argv[1]), 28, Path(sys.argv[2]))
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How far to go."""

    subject: str = setting_field("", "images, files or runs; empty: all")
    largest: int = setting_field(600_000, "leave out sizes above it")

    def __post_init__(self) -> None:
        """Refuse an unknown subject."""
        if self.subject not in {"", *SUBJECTS}:
            raise UsageError(f"--subject {self.subject}: give one of {', '.join(SUBJECTS)}")


def images(count: int) -> Iterator[NDArray[np.uint8]]:
    """Images (28, 28), each another one."""
    random = np.random.default_rng(0)
    for _ in range(count):
        yield random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)


def train(count: int, folder: Path) -> Usage:
    """One epoch of the network `linear`, with the start, the check of the file's seal and the test."""
    entries = [ImageEntry(f"class {n % CLASSES}", max(0, n % HELD_OUT - HELD_OUT + 3), f"{n}") for n in range(count)]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 1, SIDE, SIDE), dtype=np.uint8)
    ImageDataset.create(folder / FILE, entries, pixels.__getitem__, side=SIDE)
    return measure(["-c", TRAIN, str(folder / FILE)])


def import_files(count: int, folder: Path) -> Usage:
    """An import of PNG files, with the start and the report."""
    for number, pixels in enumerate(images(count)):
        path = folder / f"photos/class {number % CLASSES}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, compress_level=1)
    scratch = folder / "scratch"
    scratch.mkdir()
    return measure(["-c", IMPORT, str(folder / "photos"), str(scratch)])


def list_runs(count: int, folder: Path) -> Usage:
    """`make runs`, where the workspace is."""
    checkout = copy_checkout(folder / "checkout")
    for number in range(count):
        write_run(checkout / "runs", number, settings={"seed": number})
    variables = {"SAMEBENCH": "1", "PYTHONPATH": "src"}
    measure(["-m", "samebench.runs.list_runs"], at=checkout, variables=variables)  # once, for the caches
    return measure(["-m", "samebench.runs.list_runs"], at=checkout, variables=variables)


@dataclass(frozen=True)
class Subject:
    """What grows, in which sizes."""

    title: str
    measure: Callable[[int, Path], Usage]
    sizes: Sequence[int]


SUBJECTS = {
    "images": Subject("one epoch", train, (6_000, 60_000, 600_000)),
    "files": Subject("import", import_files, (1_000, 10_000, 100_000)),
    "runs": Subject("make runs", list_runs, (10, 100, 1_000, 5_000)),
}


def chart(title: str, name: str, sizes: Sequence[int], cpu: Sequence[float]) -> str:
    """A Mermaid chart of the CPU time for each further item, from one size to the next: level if time is linear."""
    steps = list(zip(sizes, sizes[1:], cpu, cpu[1:], strict=False))
    labels = ", ".join(f'"{low:,} to {high:,}"' for low, high, _, _ in steps)
    bars = [round((after - before) / (high - low) * 1e6) for low, high, before, after in steps]
    heading = f'title "{title}: CPU microseconds for each further of the {name}"'
    axes = [f"x-axis [{labels}]", f'y-axis "microseconds" 0 --> {max(bars)}']
    return "\n    ".join(["```mermaid\nxychart-beta", heading, *axes, f"bar {bars}"]) + "\n```"


def main(argv: Sequence[str]) -> None:
    """Measure each size once, and print a table and a chart of each subject."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.growth", about=(__doc__ or "").split("\n")[0])
    for name, subject in SUBJECTS.items():
        if plan.subject not in {"", name}:
            continue
        sizes = [size for size in subject.sizes if size <= plan.largest]
        cpu = []
        print(f"{subject.title}, n = 1, {determinism.chip()}, load {os.getloadavg()[0]:.1f}", flush=True)
        for size in sizes:
            with tempfile.TemporaryDirectory() as folder:
                usage = subject.measure(size, Path(folder))
            cpu.append(usage.cpu)
            print(
                f"{size:9,} {name:6} {usage.wall:7.2f} s  CPU {usage.cpu:7.2f} s  {usage.megabytes:5.0f} MB", flush=True
            )
        print(chart(subject.title, name, sizes, cpu))


if __name__ == "__main__":
    command.run(main)
