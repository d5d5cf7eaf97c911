"""Imports of folders: links, what can't be read, names almost alike, and a report whatever the end."""

import csv
import os
import shutil
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.tasks.image_classification import image_dataset, image_import, import_images
from samebench.tasks.image_classification.image_sources import KEPT, LEADS_OUT, Finding
from tests.commands import AS_STRANGER, lacking, open_to_others, start, stranger_may_start

from .checkout import copy_checkout, run
from .imports import WHOLE, copy, findings_by_path, imported, pictures
from .pictures import CLASSES, drawn

__all__ = ["copy", "pictures"]  # fixtures

READ = "a link to a folder: its pictures were read"


def test_links_to_folders_elsewhere_are_classes_and_named(copy: Path, tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    for label in CLASSES:
        (links / label).symlink_to(copy / label)
    made, findings = imported(links)
    assert made.dumps() == imported(copy)[0].dumps()
    assert {each for each in findings if each.found == READ} == {Finding(label, label, READ, KEPT) for label in CLASSES}
    (links / "circle").unlink()
    shutil.copytree(copy / "circle", links / "circle")
    assert imported(links)[0].dumps() == made.dumps()


def test_a_link_that_leads_nowhere_back_or_to_a_class_is_named_and_not_followed(copy: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    for number in range(5):
        drawn("circle", 500 + number).save(far / f"{number}.png")
    links = {"again": "circle", "disk": f"{far}", "disk2": f"{far}", "file": "circle/00000.png", "here": "."}
    links |= {"nowhere": "none", "ring": "ring", "root": "/", "up": ".."}
    for name, target in links.items():
        (copy / name).symlink_to(target)
    made, findings = imported(copy)
    assert made.balance == {"circle": 20, "disk": 5, "square": 20, "triangle": 20}
    named = findings_by_path(findings)
    assert named.pop("ring").startswith("can't be read: ")
    assert named == {
        "again": "a link to the same folder as: circle",
        "disk": READ,
        "disk2": "a link to the same folder as: disk",
        "file": "outside of every class's folder",
        "here": "a link to a folder that this one lies in",
        "nowhere": "a link to nothing",
        "root": "a link to a folder that this one lies in",
        "up": "a link to a folder that this one lies in",
    }


def test_behind_a_link_to_a_folder_no_file_leads_out_of_it(copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "circle", tmp_path / "far")
    (tmp_path / "secret.png").write_bytes(WHOLE["PNG"])
    (tmp_path / "far/out.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "far/back.png").symlink_to(copy / "square/00000.png")
    (copy / "circle").symlink_to(tmp_path / "far")
    made, findings = imported(copy)
    assert len(made.images) == 60
    assert findings_by_path(findings) == {
        "circle": READ,
        "circle/back.png": LEADS_OUT,
        "circle/out.png": LEADS_OUT,
    }


IMPORT = """
import sys
from pathlib import Path
from samebench.data import source
from samebench.tasks.image_classification import import_images
source.LISTINGS = Path("data")
import_images.main(["--source", sys.argv[1], "--name", "shapes"])
"""


def test_a_folder_that_another_user_keeps_to_himself_is_named_and_the_others_are_in(copy: Path, tmp_path: Path) -> None:
    (copy / "lost+found").mkdir(mode=0)
    (copy / "square/00000.png").chmod(0)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        if not stranger_may_start():
            lacking("no setpriv, or a stranger may not enter our Python")
        before = AS_STRANGER
        open_to_others(copy)
        (tmp_path / "home").mkdir()
        (tmp_path / "home").chmod(0o777)
    else:
        (tmp_path / "home").mkdir()
    process = start("-c", IMPORT, str(copy), at=tmp_path / "home", before=before)
    out, err = process.communicate(timeout=100)
    (copy / "lost+found").chmod(0o755)
    assert process.returncode == 0, err
    assert "left out 2 (2 can't be read)" in out
    with (tmp_path / "home/data/shapes/report.csv").open(newline="", encoding="utf-8") as file:
        found = {row["path"]: row["found"] for row in csv.DictReader(file)}
    assert found["lost+found"] == found["square/00000.png"] == "can't be read: Permission denied"


def test_classes_that_a_file_system_or_a_reader_takes_for_one_are_two_and_named(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = (("Shoes", "shoes"), ("Straße", "strasse"), ("bags", "bags."), ("ﬁns", "fins"))
    for number, name in enumerate(name for group in groups for name in group):
        (copy / name).mkdir()
        for each in range(3):
            drawn("circle", 1000 + 10 * number + each).save(copy / f"{name}/{each}.png")
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    import_images.main(["--source", str(copy), "--name", "shapes"])
    out = capsys.readouterr().out
    assert "8 a label almost like" in out
    for group in groups:
        for one, other in (group, group[::-1]):
            assert f"warning: {one} is a label almost like: {other}; give them one name if they are one class\n" in out
    assert {name for group in groups for name in group} < set(image_dataset.read("shapes").categories)


def test_two_forms_of_one_name_are_one_class_and_named(copy: Path) -> None:
    (copy / "circle").rename(copy / "caf\u00e9")
    (copy / "cafe\u0301").mkdir()
    drawn("circle", 100).save(copy / "cafe\u0301/one.png")
    made, findings = imported(copy)
    assert made.balance["caf\u00e9"] == 21
    assert Finding("caf\u00e9", "caf\u00e9", "a folder of the same class as: cafe\u0301", KEPT) in findings


def test_of_pictures_that_are_links_to_elsewhere_it_is_said_what_to_do(copy: Path, tmp_path: Path) -> None:
    for path in list(copy.glob("*/*")):  # as tools keep data sets: the bytes in a cache, links in the folder
        path.rename(tmp_path / f"{path.parent.name}-{path.name}")
        path.symlink_to(tmp_path / f"{path.parent.name}-{path.name}")
    with pytest.raises(
        image_import.ImportFailedError, match=r"left out are 60 \(60 leads out of the folder\)$"
    ) as raised:
        imported(copy)
    assert {each.found for each in raised.value.findings} == {
        "leads out of the folder: put the picture itself in its place, such as by cp -L"
    }


def test_of_classes_in_other_folders_the_level_that_is_wanted_is_said(copy: Path, tmp_path: Path) -> None:
    nested = "a folder: put its pictures into the folder of their class"
    shutil.copytree(copy / "square", copy / "circle/more")
    made, findings = imported(copy)
    assert (len(made.images), findings_by_path(findings)) == (60, {"circle/more": nested})
    (tmp_path / "outer").mkdir()
    copy.rename(tmp_path / "outer/training")
    with pytest.raises(UsageError, match=r"0 classes .*; give two or more, each a sub-folder with pictures in it"):
        imported(tmp_path / "outer")


def reported(home: Path) -> list[str]:
    """What the report of a refused import has found."""
    with (home / "shapes.refused.csv").open(newline="", encoding="utf-8") as file:
        return [row["found"] for row in csv.DictReader(file)]


def test_an_import_that_is_refused_leaves_a_report_and_one_that_is_not_takes_it_away(
    copy: Path, tmp_path: Path
) -> None:
    root = copy_checkout(tmp_path / "check out")

    def make(source: Path) -> str:
        words = ["make", "--silent", "data-import", f"FROM={source}", "NAME=shapes"]
        done = run(words, cwd=root, variables={"SAMEBENCH": "1", "PYTHONPATH": "src"})
        return done.stdout + done.stderr

    (tmp_path / "empty/a").mkdir(parents=True)
    assert "left out are 1 (1 an empty folder); see data/shapes.refused.csv" in make(tmp_path / "empty")
    assert "an empty folder" in reported(root / "data")
    assert make(copy).startswith("data/shapes: 60 colour images")
    assert not (root / "data/shapes.refused.csv").exists()


def test_whatever_an_import_is_refused_for_is_in_the_report(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    (tmp_path / "row.csv").write_text("path,label\nx.png\n")
    (tmp_path / "header.csv").write_text("file,class\nx.png,y\n")
    (copy / "a\nb").mkdir()
    refusals = {
        tmp_path / "row.csv": "no path or no label: give both, or take the line out",
        tmp_path / "header.csv": f"FROM={tmp_path}/header.csv, line 1: its columns are 'file,class'; give the columns",
        tmp_path / "nowhere": f"FROM={tmp_path}/nowhere: not there; give a folder with one sub-folder a class",
        copy: r"label 'a\nb': take printable characters",
    }
    for source, said in refusals.items():
        with pytest.raises(UsageError, match=r"; see data/shapes\.refused\.csv$"):
            import_images.main(["--source", str(source), "--name", "shapes"])
        assert any(found.startswith(said) for found in reported(tmp_path / "data"))


def test_a_folder_with_a_name_that_is_no_label_is_refused_with_all_of_its_kind(copy: Path) -> None:
    (copy / "circle").rename(copy / "a\nb")
    (copy / "square").rename(copy / "a\x1b[2Jb")
    with pytest.raises(image_import.ImportFailedError, match=r"and 1 more$") as raised:
        imported(copy)
    assert str(raised.value).isprintable()
    assert [each.path for each in raised.value.findings if each.done == "refused"] == ["a\nb", "a\x1b[2Jb"]
