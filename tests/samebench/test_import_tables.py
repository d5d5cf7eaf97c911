"""Imports by a table: each dialect is read as it was meant, or refused with its line, its value and a remedy."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from samebench.core.command import UsageError
from samebench.tasks.image_classification import image_import, import_report
from samebench.tasks.image_classification.image_dataset import ImageDataset
from samebench.tasks.image_classification.image_sources import KEPT, LEFT_OUT, REFUSED, Finding

from .imports import copy, findings_by_path, imported, pictures
from .pictures import CLASSES

__all__ = ["copy", "pictures"]  # fixtures


@pytest.fixture
def rows(copy: Path) -> list[tuple[str, str]]:
    """The path and the label of each picture."""
    return sorted((path.relative_to(copy).as_posix(), path.parent.name) for path in copy.glob("*/*"))


def lines(rows: list[tuple[str, str]], end: str = "\r\n", separator: str = ",", tail: str = "") -> str:
    return "".join(f"{path}{separator}{label}{tail}{end}" for path, label in rows)


Rows = list[tuple[str, str]]
READ: dict[str, Callable[[Rows, Path], str | bytes]] = {
    "Windows line ends": lambda rows, _: "path,label\r\n" + lines(rows),
    "old Macintosh line ends": lambda rows, _: "path,label\r" + lines(rows, "\r"),
    "no end of the last line": lambda rows, _: "path,label\n" + lines(rows, "\n")[:-1],
    "backslashes": lambda rows, _: "path,label\n" + lines(rows).replace("/", "\\"),
    "backslashes in some": lambda rows, _: (
        "path,label\n" + lines([(p.replace("/", "\\") if n % 2 else p, c) for n, (p, c) in enumerate(rows)])
    ),
    "backslashes up and down": lambda rows, _: "path,label\n" + lines([(f".\\x\\..\\{p}", c) for p, c in rows]),
    "semicolons": lambda rows, _: "path;label\n" + lines(rows, separator=";"),
    "tabs": lambda rows, _: "path\tlabel\n" + lines(rows, separator="\t"),
    "a sep line": lambda rows, _: "sep=;\r\npath;label\r\n" + lines(rows, separator=";"),
    "a quoted sep line": lambda rows, _: '"sep=,"\r\npath,label\r\n' + lines(rows),
    "any separator of a sep line": lambda rows, _: "sep=|\npath|label\n" + lines(rows, separator="|"),
    "a byte order mark": lambda rows, _: "\ufeffpath,label\n" + lines(rows),
    "two of them": lambda rows, _: "\ufeff\ufeffpath,label\n" + lines(rows),
    "UTF-16": lambda rows, _: ("path,label\n" + lines(rows)).encode("utf-16"),
    "UTF-16 of the other order": lambda rows, _: ("\ufeffpath\tlabel\n" + lines(rows, separator="\t")).encode(
        "utf-16-be"
    ),
    "empty lines first": lambda rows, _: "\r\n ,,\r\npath,label\r\n" + lines(rows),
    "empty lines behind a sep line": lambda rows, _: "\nsep=;\n\npath;label\n" + lines(rows, separator=";"),
    "spaces of a web page": lambda rows, _: (
        "path,\u00a0label\n" + lines([(f"\u00a0{p}", f"{c}\u00a0") for p, c in rows])
    ),
    "capitals": lambda rows, _: " Path ,LABEL\n" + lines(rows),
    "spaces": lambda rows, _: "path, label\n" + lines(rows, separator=" , ", tail=" "),
    "quotes": lambda rows, _: '"path","label"\n' + "".join(f'"{p}", "{c}"\n' for p, c in rows),
    "empty columns": lambda rows, _: "path,label,,\n" + lines(rows, tail=",,"),
    "empty values without a column": lambda rows, _: "path,label\n" + lines(rows, tail=",, "),
    "another column": lambda rows, _: "note,path,label\n" + "".join(f"n,{p},{c}\n" for p, c in rows),
    "a short row without it": lambda rows, _: "path,label,note\n" + lines(rows),
    "empty lines": lambda rows, _: "path,label\n\n" + lines(rows) + "\n,\n , \n\n",
    "absolute paths": lambda rows, at: "path,label\n" + lines([(f"{at}/{p}", c) for p, c in rows]),
    "absolute paths with dots": lambda rows, at: "path,label\n" + lines([(f"{at}/x/../{p}", c) for p, c in rows]),
    "another case": lambda rows, _: "path,label\n" + lines([(p.upper(), c) for p, c in rows]),
    "another case and backslashes": lambda rows, _: (
        "path,label\n" + lines([(p.title(), c) for p, c in rows]).replace("/", "\\")
    ),
    "hidden files' own rows": lambda rows, _: "path,label\n" + lines([(f"./{p}", c) for p, c in rows]),
}


def content(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@pytest.fixture(scope="module")
def expected(pictures: Path) -> ImageDataset:
    return imported(pictures)[0]


@pytest.mark.parametrize("dialect", READ)
def test_a_table_of_any_dialect_gives_the_set_of_the_folder(
    copy: Path, rows: Rows, expected: ImageDataset, dialect: str
) -> None:
    (copy / "all.CSV").write_bytes(content(READ[dialect](rows, copy)))
    made, findings = imported(copy / "all.CSV")
    assert findings_by_path(findings) == {}
    assert made.dumps() == expected.dumps()


REFUSED_TABLES: dict[str, tuple[str | bytes, str]] = {
    "cp1252": ("path,label\ncircle/00000.png,Schürze\n".encode("cp1252"), r"line 2: .*\\xfc.*; save it as CSV UTF-8"),
    "UTF-16 without its mark": ("path,label\n".encode("utf-16-le"), r"line 1: .*UTF-16.*; save it as CSV UTF-8"),
    "UTF-32": ("path,label\n".encode("utf-32-le"), r"line 1: .*UTF-32.*; save it as CSV UTF-8"),
    "no columns behind empty lines": ("\n\nfile,class\n", r"line 3: its columns are 'file,class'; give the columns"),
    "half a character": ("path,label\n\n".encode("utf-16") + b"x", r"line \d: no CSV in UTF-8"),
    "one column": ('"path, label"\n', r"line 1: its columns are '\"path, label\"'; give the columns path,label"),
    "no header": ("circle/00000.png,circle\n", r"line 1: its columns are 'circle/00000.png,circle'; give the col"),
    "a sep line that is wrong": ("sep=;\npath,label\n", r"line 2: its columns are 'path,label'; give the columns"),
    "a column twice": ("path,label,label\na,b,c\n", r"line 1: the column label is there twice; give the columns"),
    "a label with a comma": ("path,label\nx,y\ncircle/00000.png,blue, red\n", r"line 3: 3 values in 2 columns: put"),
    "no path": ("path,label\n\n,circle\n", r"line 3: no path or no label: give both, or take the line out"),
    "no label": ("path,label\ncircle/00000.png\n", r"line 2: no path or no label: give both"),
    "an escape": ("path,label\ncircle/00000.png,\x1b[2Jred\n", r"line 2: label '\\x1b\[2Jred': take printable"),
    "a quote that is open": ('path,label\na,b\n"c,d\ne,f\n', r"line 4: .*unexpected end of data.*; close each quote"),
    "a quote in the middle": ('path,label\n"a"b,c\n', r"line 2: .*; close each quote, or save it as CSV UTF-8"),
    "a huge value": (f"path,label\n{'a' * 200_000},c\n", r"line 2: .*field larger than field limit"),
    "nothing": ("", r"line 1: its columns are ''; give the columns path,label"),
    "a header alone": ("path,label\n", r"0 classes with a picture that can be used; give two or more"),
    "Windows' drives": (
        "path,label\nC:\\x\\1.png,a\n\\\\host\\2.png,b\n",
        r"0 classes .* are 2 \(2 an absolute path of W",
    ),
}


@pytest.mark.parametrize("case", REFUSED_TABLES)
def test_a_table_that_can_not_be_read_is_refused_with_line_value_and_remedy(copy: Path, case: str) -> None:
    text, said = REFUSED_TABLES[case]
    (copy / "all.csv").write_bytes(content(text))
    with pytest.raises(UsageError, match=said) as raised:
        imported(copy / "all.csv")
    assert str(raised.value).isprintable()


def test_every_row_that_can_not_be_used_is_found_with_its_line(copy: Path) -> None:
    (copy / "all.csv").write_text("path,label\ncircle/00000.png\nx,y,z\ncircle/00003.png,circle\n,b\n")
    with pytest.raises(image_import.ImportFailedError, match=r"line 2: no path .*; and 2 more$") as raised:
        imported(copy / "all.csv")
    assert [(each.line, each.done) for each in raised.value.findings] == [(line, REFUSED) for line in "235"]


def test_rows_that_are_left_out_are_named_with_their_lines(copy: Path, rows: Rows) -> None:
    first, label = rows[0]
    odd = [first, first.replace("/", "\\"), first.upper(), f"./{first}", "D:\\1.png", "gone.png", "a\0b", "../x.png"]
    (copy / "all.csv").write_text("path,label\n" + lines(rows, "\n") + lines([(path, label) for path in odd], "\n"))
    made, findings = imported(copy / "all.csv")
    assert len(made.images) == 60
    line = len(rows) + 2
    kinds = ["in the table before: line 2"] * 4 + ["an absolute path of Windows: give it relative to the table"]
    kinds += ["not there", "can't be read: embedded null byte", "leads out of the folder"]
    assert [each for each in findings if each.done == LEFT_OUT] == sorted(
        Finding(path, label, kind, LEFT_OUT, str(line + place))
        for place, (path, kind) in enumerate(zip(odd, kinds, strict=True))
    )


def test_one_path_with_two_labels_is_left_out_under_both(copy: Path, rows: Rows) -> None:
    (copy / "all.csv").write_text("path,label\n" + lines([*rows, (rows[0][0], "square")], "\n"))
    made, findings = imported(copy / "all.csv")
    assert len(made.images) == 59
    assert [each.line for each in findings if each.done == LEFT_OUT] == ["2", "62"]


@pytest.mark.parametrize(("disk", "table"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_path_is_found_in_whichever_form_its_accents_are_written(
    copy: Path, rows: Rows, disk: Literal["NFC", "NFD"], table: Literal["NFC", "NFD"]
) -> None:
    for label in CLASSES:
        (copy / label / "00000.png").rename(copy / label / unicodedata.normalize(disk, "é.png"))
        (copy / label).rename(copy / unicodedata.normalize(disk, f"Ä{label}"))
    renamed = [(f"Ä{path.replace('00000', 'é')}", f"Ä{label}") for path, label in rows]
    (copy / "all.csv").write_text("path,label\n" + unicodedata.normalize(table, lines(renamed)))
    made, findings = imported(copy / "all.csv")
    assert (len(made.images), findings_by_path(findings)) == (60, {})
    assert made.categories == tuple(f"Ä{label}" for label in CLASSES)
    assert made.dumps() == imported(copy)[0].dumps()


def test_a_name_with_a_backslash_a_space_or_a_line_end_is_its_own_file(copy: Path, rows: Rows) -> None:
    odd = ["circle\\00000.png", "a\nb.png", "end .png "]
    for number, name in enumerate(odd):
        (copy / rows[number][0]).rename(copy / name)
    text = "path,label\n" + "".join(f'"{name}",circle\n' for name in odd) + lines(rows[len(odd) :], "\n")
    (copy / "all.csv").write_text(text)
    made, findings = imported(copy / "all.csv")
    assert (len(made.images), findings_by_path(findings)) == (60, {})
    assert {"circle\\00000.png", "a\\nb.png", "end .png "} <= set(made.names)


def test_of_two_names_that_differ_in_case_the_one_that_is_written_is_read(copy: Path, rows: Rows) -> None:
    (copy / "circle/00001.jpg").rename(copy / "circle/A.PNG")
    (copy / "circle/00002.webp").rename(copy / "circle/a.png")
    few = [row for row in rows if row[0] not in {"circle/00001.jpg", "circle/00002.webp"}]
    odd = [("circle/A.PNG", "circle"), ("circle/a.png", "circle"), ("circle/A.png", "circle")]
    (copy / "all.csv").write_text("path,label\n" + lines([*few, *odd], "\n"))
    made, findings = imported(copy / "all.csv")
    assert (len(made.images), findings_by_path(findings)) == (60, {"circle/A.png": "not there"})


def test_labels_that_differ_in_case_alone_are_two_classes_and_named(copy: Path, rows: Rows) -> None:
    shifted = [
        (path, "Circle" if number % 2 and label == "circle" else label) for number, (path, label) in enumerate(rows)
    ]
    (copy / "all.csv").write_text("path,label\n" + lines(shifted, "\n"))
    made, findings = imported(copy / "all.csv")
    assert made.categories == ("Circle", "circle", "square", "triangle")
    assert Finding("", "Circle", "a label almost like: circle", KEPT) in findings
    assert Finding("", "circle", "a label almost like: Circle", KEPT) in findings


def test_no_cell_of_the_report_is_a_formula_and_none_steers_a_terminal() -> None:
    odd = ["=1+1", "+1", "-1", "@SUM(A1)", "a=b", "\x1b[2J", "\u202egnp", "a\nb", "\tx"]
    text = import_report.dumps([Finding(each, "x", "not there") for each in odd]).decode()
    assert [line.split(",")[0] for line in text.splitlines()[1:]] == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@SUM(A1)",
        "a=b",
        "\\x1b[2J",
        "\\u202egnp",
        "a\\nb",
        "\\tx",
    ]
