"""Imports: labels, tables, sources and names; what is taken, and what is refused in one line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from samebench import project
from samebench.core.command import UsageError
from samebench.tasks.image_classification import import_images, import_report
from samebench.tasks.image_classification.import_images import ImportArgs

from .imports import WHOLE, copy, findings_by_path, imported, pictures
from .pictures import drawn, folder

__all__ = ["copy", "pictures"]  # fixtures


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
    with pytest.raises(UsageError, match="take printable characters") as raised:
        imported(copy)
    assert str(raised.value).isprintable()


def test_a_file_name_that_is_no_text_is_told_by_its_bytes(copy: Path) -> None:
    (copy / "circle/00000.png").rename(copy / "circle/\udcff.png")
    (copy / "square/\udcfe.png").write_bytes(b"")
    made, findings = imported(copy)
    assert "circle/\\xff.png" in made.names
    assert b"square/\\xfe.png,square," in import_report.dumps(findings)


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
    with pytest.raises(UsageError, match=said):
        imported(copy / "all.csv")


def test_paths_of_a_table_that_lead_nowhere_or_out_are_named(copy: Path) -> None:
    (copy.parent / "outside.png").write_bytes(WHOLE["PNG"])
    rows = [f"{path.relative_to(copy)},{path.parent.name}" for path in copy.glob("*/*")]
    odd = {
        "gone.png": "not there",
        "../outside.png": "leads out of the folder",
        str(copy.parent / "outside.png"): "leads out of the folder",
        "/etc/hostname": "leads out of the folder",
        "circle/../../outside.png": "leads out of the folder",
        "circle": "a folder: put its pictures into the folder of their class",
        "circle/\0.png": "can't be read: embedded null byte",
    }
    text = "\n".join(["path,label", *rows, *(f'"{path}",circle' for path in odd)])
    (copy / "all.csv").write_text(f"\ufeff{text}\n")
    assert findings_by_path(imported(copy / "all.csv")[1]) == odd


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
    with pytest.raises(UsageError, match=said):
        imported(prepare(tmp_path))


NAMES = ["", "Shoes", "../shoes", "synthetic", *project.upstream_fetchers(), "a b", "a/b", ".."]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_taken_or_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"give lower-case words joined by hyphens"):
        ImportArgs(source="photos", name=name)


def test_where_the_pictures_are_has_to_be_said() -> None:
    with pytest.raises(UsageError, match=r"^FROM=: give a folder with one sub-folder a class"):
        ImportArgs(source="", name="shoes")


def test_a_project_that_classifies_no_images_imports_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "task", object)
    with pytest.raises(UsageError, match=r"^project \w+: no image classification; put its data into data/NAME, then: "):
        import_images.main(["--source", "photos", "--name", "shoes"])
