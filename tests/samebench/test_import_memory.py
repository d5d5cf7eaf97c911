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
IMPORT = "import sys, pathlib; from samebench.tasks.image_classification.image_import import import_images; "
IMPORT += f"import_images(pathlib.Path(sys.argv[1]), {SIDE}, pathlib.Path(sys.argv[2]))"


def noise(folder: Path, count: int) -> list[str]:
    """The names of so many pictures in `folder`, all different."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    for number, each in enumerate(pixels):
        Image.fromarray(each).save(folder / f"{number}.png")
    return [f"{folder.name}/{number}.png" for number in range(count)]


# The most anonymous memory, in bytes: pages of files that are mapped don't count, as the system takes them back.
ANONYMOUS = """
import threading, time
most = 0
def watch():
    global most
    while True:
        with open("/proc/self/status") as status:
            most = max(most, *(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon")))
        time.sleep(0.002)
threading.Thread(target=watch, daemon=True).start()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
def test_memory_does_not_grow_with_the_pixels(tmp_path: Path) -> None:
    def measure(count: int) -> int:
        folder, side = tmp_path / f"{count}", 256
        base = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
        for number in range(count):
            path = folder / f"class {number % 2}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            base[:1, :2] = np.frombuffer(number.to_bytes(2, "little"), np.uint8)[:, None]
            Image.fromarray(base).save(path, compress_level=0)
        scratch = tmp_path / f"{count} scratch"
        scratch.mkdir()
        program = f"{IMPORT.replace(f', {SIDE},', f', {side},')}\nprint(most)"
        words = [sys.executable, "-c", ANONYMOUS + program, str(folder), str(scratch)]
        return int(subprocess.run(words, env=environment(), capture_output=True, text=True, check=True).stdout)

    assert measure(500) < measure(50) + (40 << 20), "450 more images have 88 MB of pixels"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells anonymous memory apart")
@pytest.mark.parametrize(
    ("module", "program", "names", "words"),
    [
        ("table.table_data", "TableData(rows, 'b', where='')", "a,b", ""),
        ("text_classification.text_data", "TextData(rows, where='')", "text,label", " of many words" * 9),
    ],
    ids=["table", "texts"],
)
def test_memory_does_not_grow_with_rows(module: str, program: str, names: str, words: str, tmp_path: Path) -> None:
    source = f"""{ANONYMOUS}
import pathlib, sys
from samebench.tasks.{module} import *
rows = read_csv(pathlib.Path(sys.argv[1]))
{program}
print(most)"""

    def measure(count: int) -> int:
        path = tmp_path / f"{count}.csv"
        path.write_text("\n".join([names, *(f"{number}{words},{number % 7}" for number in range(count))]))
        command = [sys.executable, "-c", source, str(path)]
        return int(subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout)

    assert measure(70_000) < measure(10_000) + (25 << 20), "as objects of Python, 60,000 more take 60 MB"


def peak(paths: list[str], classes: int, at: Path) -> int:
    """The most bytes that an import of these pictures takes, labelled in turn with so many classes."""
    table = at / f"{classes}.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = [(path, f"class {number % classes}") for number, path in enumerate(paths)]
        csv.writer(file).writerows([("path", "label"), *rows])
    scratch = at / f"{classes} scratch"
    scratch.mkdir()
    words = [sys.executable, "-c", MEASURE, "-c", IMPORT, str(table), str(scratch)]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_a_thousand_classes_take_hardly_more_memory_than_two(tmp_path: Path) -> None:
    paths = noise(tmp_path / "photos", 2500)
    few, many = (peak(paths, classes, tmp_path) for classes in (2, 1000))
    assert many < few + (80 << 20), "8 bytes for each image, neighbour and class would be 200 MB"


@pytest.mark.soak
def test_20000_images_in_1000_classes_are_imported_in_700_megabytes(tmp_path: Path) -> None:
    assert peak(noise(tmp_path / "photos", 20_000), 1000, tmp_path) < 700 << 20
