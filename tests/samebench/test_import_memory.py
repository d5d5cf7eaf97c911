"""Imports: their memory grows with the images, and not with images times classes."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import environment

SIDE = 8
# A process that starts others inherits its peak to them, so a small one stands between pytest and the import.
MEASURE = "import resource, subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True); "
MEASURE += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == 'darwin' else 1024))"
IMPORT = "import sys; from samebench.tasks.image_classification.import_images import ImportArgs, import_images; "
IMPORT += f"import_images(ImportArgs(source=sys.argv[1], name='many', side={SIDE}))"


def noise(folder: Path, count: int) -> list[str]:
    """The names of so many pictures in `folder`, all different."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{number}.png")
    return [f"{folder.name}/{number}.png" for number in range(count)]


def peak(paths: list[str], classes: int, at: Path) -> int:
    """The most bytes that an import of these pictures takes, labelled in turn with so many classes."""
    table = at / f"{classes}.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = [(path, f"class {number % classes}") for number, path in enumerate(paths)]
        csv.writer(file).writerows([("path", "label"), *rows])
    words = [sys.executable, "-c", MEASURE, "-c", IMPORT, str(table)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_thousand_classes_take_hardly_more_memory_than_two(tmp_path: Path) -> None:
    paths = noise(tmp_path / "photos", 2500)
    few, many = (peak(paths, classes, tmp_path) for classes in (2, 1000))
    assert many < few + (80 << 20), "8 bytes for each image, neighbour and class would be 200 MB"


@pytest.mark.soak
def test_20000_images_in_1000_classes_are_imported_in_700_megabytes(tmp_path: Path) -> None:
    assert peak(noise(tmp_path / "photos", 20_000), 1000, tmp_path) < 700 << 20
