"""Imports of what lies in people's folders: photos of phones, other formats, and what systems put beside pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from samebench.tasks.image_classification import import_images, import_report
from samebench.tasks.image_classification.image_sources import KEPT, Finding
from samebench.tasks.image_classification.picture_file import CUT, METADATA, UNTURNED
from samebench.tasks.image_classification.preprocessing import MIN_DEVIATION
from tests.serving.picture_bytes import GARBAGE, video, with_chunk

from .imports import copy, findings_by_path, imported, pictures
from .pictures import drawn, encoded

__all__ = ["copy", "pictures"]  # fixtures

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


def test_photos_of_phones_are_imported(copy: Path) -> None:
    photo = drawn("circle", 800, size=64).resize((6000, 8000))
    photo.save(copy / "circle/phone.jpg")
    (copy / "circle/motion.jpg").write_bytes(video(encoded(drawn("circle", 801), "JPEG")))
    made, findings = imported(copy)
    assert findings_by_path(findings) == {}
    assert {"circle/phone.jpg", "circle/motion.jpg"} <= set(made.names)


def test_what_is_damaged_beside_its_pixels_is_taken_and_named(copy: Path) -> None:
    sound = drawn("circle", 810)
    damaged = {
        "circle/cut.jpg": (encoded(drawn("circle", 811), "JPEG")[:-2], CUT),
        "circle/exif.png": (with_chunk(b"eXIf", GARBAGE, image=sound), UNTURNED),
        "circle/text.png": (with_chunk(b"tEXt", b"a\0b", checksum=1, image=drawn("circle", 812)), METADATA),
    }
    for name, (content, _) in damaged.items():
        (copy / name).write_bytes(content)
    made, findings = imported(copy)
    assert findings_by_path(findings) == {name: damage for name, (_, damage) in damaged.items()}
    assert {each.done for each in findings if each.path in damaged} == {KEPT}
    assert set(damaged) <= set(made.names)


def test_other_formats_are_named_in_the_report_and_counted_in_the_summary(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        (copy / f"circle/IMG_{number}.jpg").write_bytes(HEIC)
    (copy / "square/film.png").write_bytes(b"GIF89a")
    (copy / "square/nothing.png").write_bytes(b"")
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    import_images.main(["--source", str(copy), "--name", "shapes"])
    assert "left out 5 (5 no PNG, JPEG or WebP picture: 3 HEIC, 1 GIF, 1 empty file)" in capsys.readouterr().out
    report = (tmp_path / "data/shapes/report.csv").read_text()
    assert report.count("no PNG, JPEG or WebP picture: HEIC: export it as JPEG") == 3


def test_a_picture_with_nothing_to_see_is_taken_and_named(copy: Path) -> None:
    Image.new("RGBA", (40, 30)).save(copy / "circle/clear.png")
    Image.new("L", (40, 30), 128).save(copy / "square/grey.jpg")
    made, findings = imported(copy)
    said = "nothing to see: it has one colour, or is transparent"
    assert findings_by_path(findings) == {"circle/clear.png": said, "square/grey.jpg": said}
    assert {"circle/clear.png", "square/grey.jpg"} <= set(made.names)


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "System Volume Information"])
def test_a_folder_that_a_system_has_made_is_no_class(copy: Path, name: str) -> None:
    (copy / name).mkdir()
    drawn("circle", 820).save(copy / name / "a.png")
    made, findings = imported(copy)
    assert findings_by_path(findings) == {name: f"a system's own: {name}"}
    assert len(made.categories) == 3


def test_files_of_systems_are_counted_by_name(copy: Path) -> None:
    for label in ("circle", "square"):
        (copy / label / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        (copy / label / "@eaDir").mkdir()
    (copy / "desktop.ini").write_bytes(b"[.ShellClassInfo]")
    made, findings = imported(copy)
    counts = "5 a system's own: 2 @eaDir, 2 Thumbs.db, 1 desktop.ini"
    assert f"left out 5 ({counts})" in import_report.summary(made, findings)


def flat(at: Path, count: int = 40) -> Path:
    """Pictures whose classes differ by few levels of red, whose blue is always the same, and which have no margins."""
    for kind, label in enumerate(("light", "dark")):
        (at / label).mkdir(parents=True)
        for number in range(count):
            noise = np.random.default_rng([kind, number]).integers(0, 4, (28, 28, 3))
            levels = noise + np.array([100 + 4 * kind, 50, 0])
            levels[..., 2] = 9
            Image.fromarray(levels.astype(np.uint8)).save(at / label / f"{number}.png")
    return at


def test_a_channel_without_contrast_has_a_least_deviation_that_is_said(tmp_path: Path) -> None:
    made, findings = imported(flat(tmp_path / "flat"))
    assert made.preprocessing.std == (MIN_DEVIATION,) * 3
    said = f"channel 1 and 2 and 3 of 3: hardly any contrast in the training images; a deviation of {MIN_DEVIATION} is"
    assert [each for each in findings if each.found.startswith(said)] == [Finding("", "", f"{said} assumed", KEPT)]
    assert (made.preprocessing(made.images).abs() < 1).all()
    assert torch.isfinite(made.preprocessing(torch.full((1, 3, 28, 28), 255, dtype=torch.uint8))).all()
