"""Imports: what becomes of pictures, of broken ones, and that nothing moves that need not."""

import csv
import os
import random
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apparel import data, dataset, intake
from apparel.dataset import Dataset
from apparel.intake import Question
from apparel.sources import KEPT, LEFT_OUT, Finding
from samebench.command import Refusal

from .pictures import CLASSES, drawn, encoded, folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of three classes."""
    return folder(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture
def copy(pictures: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


def imported(source: Path, side: int = 28) -> tuple[Dataset, list[Finding]]:
    return intake.make(Question(source=str(source), name="shapes", side=side))


def told(findings: list[Finding]) -> dict[str, str]:
    """What was found of each file."""
    return {each.path: each.found for each in findings if each.path and not each.found.startswith("looks like")}


def test_pictures_in_folders_become_tensors_with_labels_of_the_folders(pictures: Path) -> None:
    made, findings = imported(pictures)
    assert told(findings) == {}
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
    assert told(findings) == {}
    assert tuple(made.images.shape) == (65, 3, side, side)


def test_the_folder_and_its_table_give_the_same_set(pictures: Path, copy: Path) -> None:
    rows = [(path.relative_to(copy).as_posix(), path.parent.name) for path in sorted(copy.glob("*/*"))]
    random.Random(0).shuffle(rows)
    with (copy / "all.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "path", "note"), *((label, path, "x") for path, label in rows)])
    assert imported(copy / "all.csv")[0].pack() == imported(pictures)[0].pack()


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
    assert first[0].pack() == second[0].pack()
    assert intake.report(first[1]) == intake.report(second[1])
    assert data.own(first[0]).version == data.own(second[0]).version


def test_renamed_files_are_the_same_data(copy: Path) -> None:
    before = data.own(imported(copy)[0]).version
    (copy / "circle/00000.png").rename(copy / "circle/zzz.png")
    assert data.own(imported(copy)[0]).version == before


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
    parts = [intake.part(zlib.crc32(bytes([n % 256, n // 256])).to_bytes(4, "big") * 8) for n in range(20_000)]
    shares = np.bincount(parts, minlength=3) / len(parts)
    assert shares == pytest.approx([9 / 12, 1 / 12, 2 / 12], abs=0.01)


def test_the_statistics_are_those_of_the_training_part_alone(pictures: Path) -> None:
    made, _ = imported(pictures)
    training = made.images[made.parts == 0].double() / 255
    assert made.preprocessing.mean == pytest.approx(training.mean((0, 2, 3)).tolist())
    assert made.preprocessing.deviation == pytest.approx(training.std((0, 2, 3), correction=0).tolist())


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def head(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


WHOLE = {kind: encoded(drawn("circle", 999), kind) for kind in ("PNG", "JPEG", "WEBP")}
BOMB = head(60_000, 60_000) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def written(content: bytes) -> Callable[[Path, int], object]:
    return lambda path, _: path.write_bytes(content)


def cut(kind: str) -> Callable[[Path, int], object]:
    """Cut anywhere, the end of the file among it."""
    return lambda path, number: path.write_bytes(
        WHOLE[kind][: len(WHOLE[kind]) * number // 10 + len(WHOLE[kind]) // 11]
    )


# What people and disks do to pictures; each way makes ten files, and none of them may pass unnamed.
BROKEN: dict[str, tuple[str, Callable[[Path, int], object]]] = {
    "empty": ("no PNG, JPEG or WebP picture", written(b"")),
    "text": ("no PNG, JPEG or WebP picture", written(b"not a picture\n" * 20)),
    "wrong magic": ("no PNG, JPEG or WebP picture", lambda path, n: path.write_bytes(flipped(WHOLE["PNG"], n % 8))),
    "half a magic": ("no PNG, JPEG or WebP picture", lambda path, n: path.write_bytes(WHOLE["PNG"][: 1 + n % 7])),
    "gif": ("no PNG, JPEG or WebP picture", written(encoded(drawn("circle", 1), "GIF"))),
    "bmp": ("no PNG, JPEG or WebP picture", written(encoded(drawn("circle", 1), "BMP"))),
    "tiff": ("no PNG, JPEG or WebP picture", written(encoded(drawn("circle", 1), "TIFF"))),
    "cut png": ("a damaged picture", cut("PNG")),
    "cut jpeg": ("a damaged picture", cut("JPEG")),
    "cut webp": ("a damaged picture", cut("WEBP")),
    "last bytes cut": ("a damaged picture", lambda path, n: path.write_bytes(WHOLE["PNG"][: -1 - n])),
    "flipped byte": ("a damaged picture", lambda path, n: path.write_bytes(flipped(WHOLE["PNG"], 45 + 20 * n))),
    "wrong checksum": ("a damaged picture", written(flipped(WHOLE["PNG"], len(WHOLE["PNG"]) - 13))),
    "no pixels": ("a damaged picture", written(head(10, 10) + chunk(b"IEND", b""))),
    "zero wide": (
        "no PNG, JPEG or WebP picture",
        written(head(0, 10) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")),
    ),
    "bomb": ("too large", written(BOMB)),
    "long": ("too large", lambda path, n: path.write_bytes(encoded(Image.new("1", (4097 + n, 3))))),
    "folder": ("a folder", lambda path, _: path.mkdir()),
    "dangling link": ("a link to nothing", lambda path, _: path.symlink_to("nowhere.png")),
    "link in a ring": ("can't be read", lambda path, _: path.symlink_to(path.name)),
    "link out": ("leads out of the folder", lambda path, _: path.symlink_to(path.parents[2] / "outside.png")),
    "link out by folders": ("leads out of the folder", lambda path, _: path.symlink_to("../../outside.png")),
    "pipe": ("no ordinary file", lambda path, _: os.mkfifo(path)),
    "hidden": ("hidden", lambda path, _: path.with_name(f".{path.name}").write_bytes(WHOLE["PNG"])),
    "huge": ("too large", lambda path, _: sparse(path, 200 << 20)),
}


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


def test_every_broken_file_is_named_with_what_it_is_and_the_others_are_in(copy: Path) -> None:
    (copy.parent / "outside.png").write_bytes(WHOLE["PNG"])
    for way, (_, spoil) in BROKEN.items():
        for number in range(10):
            spoil(copy / CLASSES[number % 3] / f"{way} {number}.png", number)
    made, findings = imported(copy)
    named = {path.replace("/.", "/"): what.partition(":")[0] for path, what in told(findings).items()}
    expected = {
        f"{CLASSES[number % 3]}/{way} {number}.png": what for way, (what, _) in BROKEN.items() for number in range(10)
    }
    assert named == expected
    assert len(expected) == 250
    assert len(made.images) == 60
    assert {each.done for each in findings if each.path in expected} == {LEFT_OUT}


def test_what_is_in_no_class_or_makes_none_is_named(copy: Path) -> None:
    (copy / "loose.png").write_bytes(WHOLE["PNG"])
    (copy / ".git").mkdir()
    (copy / "elsewhere").symlink_to(copy / "circle")
    (copy / "hollow").mkdir()
    (copy / "broken").mkdir()
    (copy / "broken/only.png").write_bytes(b"")
    made, findings = imported(copy)
    assert told(findings) == {
        "loose.png": "outside of every class's folder",
        ".git": "hidden",
        "elsewhere": "outside of every class's folder",
        "hollow": "an empty folder",
        "broken/only.png": "no PNG, JPEG or WebP picture",
    }
    assert Finding("", "broken", "no picture of this class can be used", "the class is left out") in findings
    assert made.categories == CLASSES


def test_duplicates_are_named_whatever_file_they_are_in(copy: Path) -> None:
    image = Image.open(copy / "circle/00000.png")
    image.save(copy / "circle/same.webp", lossless=True)
    image.convert("RGBA").save(copy / "circle/again.png")
    made, findings = imported(copy)
    assert told(findings) == {
        "circle/again.png": "the same pixels as: circle/00000.png",
        "circle/same.webp": "the same pixels as: circle/00000.png",
    }
    assert len(made.images) == 60


def test_the_same_pixels_under_two_labels_are_left_out_under_both(copy: Path) -> None:
    shutil.copy(copy / "circle/00000.png", copy / "square/other.png")
    made, findings = imported(copy)
    what = "the same pixels under labels: circle, square"
    assert told(findings) == {"circle/00000.png": what, "square/other.png": what}
    assert made.balance == {"circle": 19, "square": 20, "triangle": 20}


def test_no_pixels_are_in_two_parts(copy: Path) -> None:
    for path in list(copy.glob("*/*")):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    made, _ = imported(copy)
    rows = made.images.flatten(1).numpy()
    assert len(np.unique(rows, axis=0)) == len(rows) == 60


def test_what_looks_mislabelled_is_named_and_kept(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", 40)
    shutil.move(photos / "circle/00007.jpg", photos / "square/wrong.jpg")
    made, findings = imported(photos)
    (found,) = [each for each in findings if each.path == "square/wrong.jpg"]
    assert found == Finding(
        "square/wrong.jpg", "square", "looks like another class: circle, as 10 of its neighbours are", KEPT
    )
    assert found.path in made.names


def test_the_first_picture_of_a_film_is_taken_and_named(copy: Path) -> None:
    frames = [drawn("circle", number) for number in (500, 501)]
    frames[0].save(copy / "circle/film.png", save_all=True, append_images=[frames[1].resize(frames[0].size)])
    made, findings = imported(copy)
    assert Finding("circle/film.png", "circle", "a film: its first picture was taken", KEPT) in findings
    assert "circle/film.png" in made.names


def test_labels_may_be_in_any_script_and_are_one_however_their_accents_are_written(tmp_path: Path) -> None:
    photos = folder(tmp_path, 12)
    (photos / "circle").rename(photos / "caf\u00e9")
    (photos / "square").rename(photos / "服装")
    (photos / "triangle").rename(photos / "نی\u200cس")
    (photos / "cafe\u0301").mkdir()
    drawn("circle", 100).save(photos / "cafe\u0301/one.png")
    made, _ = imported(photos)
    assert made.categories == ("caf\u00e9", "نی\u200cس", "服装")
    assert made.balance["caf\u00e9"] == 13


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u202eb", " a", "a ", "x" * 101, "a\udcff"])
def test_a_label_that_can_not_be_read_is_refused_in_one_line(copy: Path, name: str) -> None:
    (copy / "circle").rename(copy / name)
    with pytest.raises(Refusal, match="take printable characters") as raised:
        imported(copy)
    assert str(raised.value).isprintable()


def test_a_file_name_that_is_no_text_is_told_by_its_bytes(copy: Path) -> None:
    (copy / "circle/00000.png").rename(copy / "circle/\udcff.png")
    (copy / "square/\udcfe.png").write_bytes(b"")
    made, findings = imported(copy)
    assert "circle/\\xff.png" in made.names
    assert b"square/\\xfe.png,square," in intake.report(findings)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "give the columns path,label"),
        (b"file,class\na,b\n", "give the columns path,label"),
        (b"path,label\ncircle/00000.png\n", "line 2: no path or no label"),
        (b"path,label\n,circle\n", "line 2: no path or no label"),
        (b"path,label\ncircle/00000.png,\n", "line 2: label ''"),
        (b"path,label\n\xff,circle\n", "no CSV in UTF-8"),
        (b'path,label\n"a,circle\n', "no CSV in UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(copy: Path, content: bytes, said: str) -> None:
    (copy / "all.csv").write_bytes(content)
    with pytest.raises(Refusal, match=said):
        imported(copy / "all.csv")


def test_paths_of_a_table_that_lead_nowhere_or_out_are_named(copy: Path) -> None:
    (copy.parent / "outside.png").write_bytes(WHOLE["PNG"])
    rows = [f"{path.relative_to(copy)},{path.parent.name}" for path in copy.glob("*/*")]
    odd = {
        "gone.png": "not there",
        "../outside.png": "leads out of the folder",
        str(copy / "circle/00000.png"): "leads out of the folder",
        "circle": "a folder",
        "circle/\0.png": "can't be read: embedded null byte",
    }
    text = "\n".join(["path,label", *rows, *(f'"{path}",circle' for path in odd)])
    (copy / "all.csv").write_text(f"\ufeff{text}\n")
    assert told(imported(copy / "all.csv")[1]) == odd


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda at: at / "nowhere", "give a folder with one sub-folder a class"),
        (lambda at: folder(at, 20) / "circle/00000.png", "give a folder with one sub-folder a class"),
        (lambda at: at, "0 classes with a picture that can be used"),
        (lambda at: folder(at, 1), r"3 pictures that can be used, and none of them for .*; give more"),
    ],
)
def test_a_source_without_enough_pictures_is_refused(
    tmp_path: Path, prepare: Callable[[Path], Path], said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        imported(prepare(tmp_path))


@pytest.mark.parametrize("name", ["", "Shoes", "../shoes", "fashion-mnist", "synthetic", "a b", "a/b", ".."])
def test_a_name_that_is_taken_or_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match=r"give lower-case words joined by hyphens"):
        Question(source="photos", name=name)


def test_where_the_pictures_are_has_to_be_said() -> None:
    with pytest.raises(Refusal, match=r"^FROM=: give a folder with one sub-folder a class"):
        Question(source="", name="shoes")


def test_a_class_without_images_in_a_part_is_named(copy: Path) -> None:
    (copy / "rare").mkdir()
    drawn("circle", 700).save(copy / "rare/one.png")
    found = [each.found for each in imported(copy)[1] if each.label == "rare" and not each.path]
    assert len(found) == 2
    assert all(each.endswith("images: 1 in all") for each in found)


def test_the_command_says_in_one_line_what_became_of_the_files(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (copy / f"circle/empty {number}.png").write_bytes(b"")
    monkeypatch.setattr(dataset, "HOME", tmp_path / "data")
    words = ["--source", str(copy), "--name", "shapes"]
    intake.main(words)
    out, nothing = capsys.readouterr()
    said, following = out.splitlines()
    assert (following[:51], nothing) == ("keep this version: make data-add DATASET=shapes; tr", "")
    assert said.startswith("data/shapes: 60 colour images of 28x28 in 3 categories (")
    assert "left out 3 (3 no PNG, JPEG or WebP picture)" in said
    data.main(["shapes"])
    version = said.partition("version ")[2][:12]
    assert capsys.readouterr().out == f"shapes: whole, 3 categories, version {version}\n"
    before = (tmp_path / "data/shapes.sha256").read_bytes()
    assert {line.split()[1] for line in before.decode().splitlines()} == {dataset.FILE, dataset.REPORT}
    intake.main(words)
    assert (tmp_path / "data/shapes.sha256").read_bytes() == before
    with pytest.raises(Refusal):
        intake.main(["--source", "nowhere", "--name", "shapes"])
    assert (tmp_path / "data/shapes.sha256").read_bytes() == before
