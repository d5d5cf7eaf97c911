"""Imports: what becomes of pictures, and that nothing moves that need not."""

import csv
import os
import random
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samebench.core.command import UsageError
from samebench.data import fetch
from samebench.tasks.image_classification import image_dataset, image_import, import_images, import_report

from .imports import copy, findings_by_path, imported, pictures
from .pictures import CLASSES, folder

__all__ = ["copy", "pictures"]  # fixtures


def test_pictures_in_folders_become_tensors_with_labels_of_the_folders(pictures: Path) -> None:
    made, findings = imported(pictures)
    assert findings_by_path(findings) == {}
    assert tuple(made.images.shape) == (60, 3, 28, 28)
    assert made.categories == CLASSES
    assert made.balance == dict.fromkeys(CLASSES, 20)
    for name, label in zip(made.names, made.labels.tolist(), strict=True):
        assert name.startswith(f"{CLASSES[label]}/")


def test_grey_pictures_make_a_grey_set_and_one_in_colour_makes_it_one_of_colours(copy: Path, tmp_path: Path) -> None:
    grey, _ = imported(folder(tmp_path / "grey", 20, colour=False, kinds=("png", "jpg")))
    assert tuple(grey.images.shape) == (60, 1, 28, 28)
    assert isinstance(grey.preprocessing.mean, float)
    shutil.copy(copy / "circle/00000.png", tmp_path / "grey/circle/colour.png")
    mixed, _ = imported(tmp_path / "grey")
    assert tuple(mixed.images.shape) == (61, 3, 28, 28)
    parts = dict(zip(mixed.names, mixed.parts.tolist(), strict=True))
    assert [parts[name] for name in grey.names] == grey.parts.tolist(), "a grey picture is the same in colour"


@pytest.mark.parametrize("side", [8, 28, 33])
def test_pictures_of_any_size_and_shape_come_out_in_the_one_that_is_asked_for(copy: Path, side: int) -> None:
    for number, size in enumerate([(1, 1), (4096, 1), (3, 400), (28, 28), (5, 5)]):
        Image.new("RGB", size, (number, 100, 50)).save(copy / f"circle/odd-{number}.png")
    made, findings = imported(copy, side)
    assert {what.partition(":")[0] for what in findings_by_path(findings).values()} == {"nothing to see"}, (
        "of one colour"
    )
    assert tuple(made.images.shape) == (65, 3, side, side)


def test_the_folder_and_its_table_give_the_same_set(pictures: Path, copy: Path) -> None:
    rows = [(path.relative_to(copy).as_posix(), path.parent.name) for path in sorted(copy.glob("*/*"))]
    random.Random(0).shuffle(rows)
    with (copy / "all.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "path", "note"), *((label, path, "x") for path, label in rows)])
    assert imported(copy / "all.csv")[0].dumps() == imported(pictures)[0].dumps()


def test_neither_the_order_nor_the_time_nor_the_place_of_the_files_changes_a_byte(
    pictures: Path, tmp_path: Path
) -> None:
    paths = [path for path in pictures.rglob("*") if path.is_file()]
    random.Random(1).shuffle(paths)
    for path in paths:
        again = tmp_path / "elsewhere" / path.relative_to(pictures)
        again.parent.mkdir(parents=True, exist_ok=True)
        again.write_bytes(path.read_bytes())
        os.utime(again, (1, 1))
    first, second = imported(pictures), imported(tmp_path / "elsewhere")
    assert first[0].dumps() == second[0].dumps()
    assert import_report.dumps(first[1]) == import_report.dumps(second[1])
    assert first[0].to_data().version == second[0].to_data().version


def test_renamed_files_are_the_same_data(copy: Path) -> None:
    before = imported(copy)[0].to_data().version
    (copy / "circle/00000.png").rename(copy / "circle/zzz.png")
    assert imported(copy)[0].to_data().version == before


def test_added_images_move_no_others_between_the_parts(copy: Path) -> None:
    before, _ = imported(copy)
    after, _ = imported(folder(copy, 10, first=20))
    parts = dict(zip(after.names, after.parts.tolist(), strict=True))
    moved = [name for name, part in zip(before.names, before.parts.tolist(), strict=True) if parts[name] != part]
    assert (len(after.images), moved) == (90, [])


def test_the_split_of_2000_images_is_the_same_after_200_were_added(tmp_path: Path) -> None:
    few: Any = {"size": 20, "kinds": ("png",)}
    before, _ = imported(folder(tmp_path, 667, **few))
    after, _ = imported(folder(tmp_path, 67, first=667, **few))
    parts = dict(zip(after.names, after.parts.tolist(), strict=True))
    assert (len(before.images), len(after.images)) == (2001, 2202)
    assert [parts[name] for name in before.names] == before.parts.tolist()


def test_a_sixth_is_for_the_test_and_a_twelfth_for_validation() -> None:
    parts = [image_import.part(zlib.crc32(bytes([n % 256, n // 256])).to_bytes(4, "big") * 8) for n in range(20_000)]
    shares = np.bincount(parts, minlength=3) / len(parts)
    assert shares == pytest.approx([9 / 12, 1 / 12, 2 / 12], abs=0.01)


def test_the_statistics_are_those_of_the_training_part_alone(pictures: Path) -> None:
    made, _ = imported(pictures)
    training = made.images[made.parts == 0].double() / 255
    assert made.preprocessing.mean == pytest.approx(training.mean((0, 2, 3)).tolist())
    assert made.preprocessing.std == pytest.approx(training.std((0, 2, 3), correction=0).tolist())


def test_the_command_says_in_one_line_what_became_of_the_files(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (copy / f"circle/empty {number}.png").write_bytes(b"")
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    words = ["--source", str(copy), "--name", "shapes"]
    import_images.main(words)
    out, nothing = capsys.readouterr()
    said, following = out.splitlines()
    train = 'make train DATASET=shapes ARGS="--batch-size 32 --lr 0.02"'
    assert (following, nothing) == (f"keep this version: make data-add DATASET=shapes; train on it: {train}", "")
    assert said.startswith("data/shapes: 60 colour images of 28x28 in 3 categories (")
    assert "left out 3 (3 no PNG, JPEG or WebP picture: 3 empty file)" in said
    fetch.main(["shapes"])
    version = said.partition("version ")[2][:12]
    sizes = said.partition("categories (")[2].partition(")")[0]
    assert capsys.readouterr().out == f"shapes: whole, {sizes} examples, version {version}\n"
    before = (tmp_path / "data/shapes.sha256").read_bytes()
    assert {line.split()[1] for line in before.decode().splitlines()} == {image_dataset.FILE, image_dataset.REPORT}
    import_images.main(words)
    assert (tmp_path / "data/shapes.sha256").read_bytes() == before
    with pytest.raises(UsageError):
        import_images.main(["--source", "nowhere", "--name", "shapes"])
    assert (tmp_path / "data/shapes.sha256").read_bytes() == before
