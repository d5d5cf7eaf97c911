"""Imports: each file that is broken, doubled, in no class or looks mislabelled is named, and the others are in."""

import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from samebench.tasks.image_classification.image_sources import KEPT, LEFT_OUT, Finding

from .imports import WHOLE, copy, findings_by_path, imported, pictures
from .pictures import CLASSES, drawn, encoded, folder

__all__ = ["copy", "pictures"]  # fixtures


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def head(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


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
        "a damaged picture",
        written(head(0, 10) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")),
    ),
    "bomb": ("too large", written(BOMB)),
    "wide": ("too large", lambda path, n: path.write_bytes(head(2**31 - 1 - n, 3) + chunk(b"IDAT", b""))),
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
    named = {path.replace("/.", "/"): what.partition(":")[0] for path, what in findings_by_path(findings).items()}
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
    assert findings_by_path(findings) == {
        "loose.png": "outside of every class's folder",
        ".git": "hidden",
        "elsewhere": "a link to the same folder as: circle",
        "hollow": "an empty folder",
        "broken/only.png": "no PNG, JPEG or WebP picture: empty file: copy it again",
    }
    assert Finding("", "broken", "no picture of this class can be used", "the class is left out") in findings
    assert made.categories == CLASSES


def test_duplicates_are_named_whatever_file_they_are_in(copy: Path) -> None:
    image = Image.open(copy / "circle/00000.png")
    image.save(copy / "circle/same.webp", lossless=True)
    image.convert("RGBA").save(copy / "circle/again.png")
    made, findings = imported(copy)
    assert findings_by_path(findings) == {
        "circle/again.png": "the same pixels as: circle/00000.png",
        "circle/same.webp": "the same pixels as: circle/00000.png",
    }
    assert len(made.images) == 60


def test_the_same_pixels_under_two_labels_are_left_out_under_both(copy: Path) -> None:
    shutil.copy(copy / "circle/00000.png", copy / "square/other.png")
    made, findings = imported(copy)
    what = "the same pixels under labels: circle, square"
    assert findings_by_path(findings) == {"circle/00000.png": what, "square/other.png": what}
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


def test_a_class_without_images_in_a_part_is_named(copy: Path) -> None:
    (copy / "rare").mkdir()
    drawn("circle", 700).save(copy / "rare/one.png")
    found = [each.found for each in imported(copy)[1] if each.label == "rare" and not each.path]
    assert len(found) == 2
    assert all(each.endswith("images: 1 in all") for each in found)
