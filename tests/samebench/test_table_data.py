"""Tables: which columns a CSV has, how rows are dealt out, and rows as a server gets them."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samebench.core.command import UsageError
from samebench.data import source
from samebench.data.source import Source
from samebench.serving.problem import Problem
from samebench.tasks.table import table_data
from samebench.tasks.table.columns import MOST_VALUES, Columns
from samebench.tasks.table.serving import TableServing
from samebench.tasks.table.table_data import TableData

SPEC: dict[str, Any] = {"numbers": ["area", "rooms"], "categories": {"town": ["Bern", "Köln"]}, "target": "price"}


def rows(count: int = 300) -> list[dict[str, str]]:
    return [
        {
            "area": str(n * 1.5),
            "town": ["Bern", "Köln", ""][n % 3],
            "rooms": str(n % 5) if n % 7 else "",
            "price": f"{n}",
        }
        for n in range(count)
    ]


def test_numbers_and_categories_are_found() -> None:
    data = TableData(rows(), "price", where="t")
    assert data.columns == Columns(("area", "rooms"), {"town": ("", "Bern", "Köln")})
    sizes = [len(part) for part in (data.training, data.validation, data.test())]
    assert sum(sizes) == 300
    assert sizes[0] > 200
    assert min(sizes[1:]) > 10
    training = data.training["numbers"][:, 1].double().numpy()
    assert data.spec["mean"][1] == pytest.approx(np.nanmean(training))
    assert data.spec["deviation"][1] == pytest.approx(np.nanstd(training))
    assert np.isnan(training).any(), "a missing number"


def test_equal_rows_are_in_one_part_and_others_move_no_row() -> None:
    one, more = (TableData(each, "price", where="t") for each in (rows() * 2, rows(400)))
    for first, second in ((one.training, more.training), (one.validation, more.validation), (one.test(), more.test())):
        assert {*first["values"].tolist()} <= {*second["values"].tolist()}
    assert len(one.training) == 2 * len({*one.training["values"].tolist()})


def test_version_is_that_of_the_content() -> None:
    changed = rows()
    changed[7]["price"] = "8"
    first, second, other = (TableData(each, "price", where="t").version for each in (rows(), rows(), changed))
    assert first == second != other


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 columns"),
        (b"a,price\n", "no rows"),
        (b"a,a\n1,2\n", "2 columns; give two different names"),
        (b"price\n1\n", "1 columns"),
        (b"a,price\n1,2,3\n", "row 2: not 2 cells"),
        (b"a,price\n1\n", "row 2: not 2 cells"),
        (b"a,price\n\xff,2\n", "can't decode"),
        (b'a,price\n"1,2\n', "unexpected end of data"),
    ],
)
def test_what_is_no_table_is_refused_in_a_line(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=problem) as refusal:
        TableData(table_data.read_csv(path), "price", where=path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"price": "dear"}, r"row 2: price is 'dear', which is no number"),
        ({"price": "inf"}, "give a number up to"),
        ({"price": ""}, "row 2: price is missing; mend it"),
        ({"price": "\x1b[2J"}, "which is no number"),
        ({"town": "x" * 101}, "town has more than"),
        ({"area": "1e31"}, "area is '1e31'; give a number up to 1e"),
    ],
)
def test_impossible_cell_is_refused_in_a_line(change: dict[str, str], problem: str) -> None:
    table = rows()
    table[0] |= change
    with pytest.raises(UsageError, match=problem) as refusal:
        TableData(table, "price", where="t")
    assert str(refusal.value).isprintable()


def test_target_that_is_not_there_and_too_few_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="no column cost; there are area, town, rooms, price"):
        TableData(rows(), "cost", where="t")
    with pytest.raises(UsageError, match="2 rows, too few"):
        TableData(rows(2), "price", where="t")
    many = [{"name": f"n{n}", "price": "1"} for n in range(MOST_VALUES + 1)]
    with pytest.raises(UsageError, match="name has more than"):
        TableData(many, "price", where="t")


def test_long_cell_is_read(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,price\n" + "x" * 200_000 + ",1\n")
    (row,) = table_data.read_csv(tmp_path / "table.csv")
    assert len(row["a"]) == 200_000


def test_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    lines = ["\ufeffarea,town,rooms,price", *(",".join(each.values()) for each in rows())]
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress("\r\n\r\n".join(lines).encode()))
    read = table_data.read_csv(path)
    assert [*read] == [*read] == rows(), "it is iterated twice"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"table\.csv\.gz: .*; give a CSV in UTF-8"):
        list(read)


def test_damaged_packed_table_is_not_what_the_listing_says(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"area,price\n1,2\n"))
    packed[10] = 0xFF  # a kind of block that there is not, which zlib alone sees
    (tmp_path / "table.csv.gz").write_bytes(packed)
    assert not Source("houses", tmp_path).matches_sha256("table.csv", "0" * 64)


def test_empty_lines_before_the_names_are_no_names(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n\narea,price\n\n1,2\n")
    assert [*table_data.read_csv(path)] == [{"area": "1", "price": "2"}]


def test_folder_is_read_as_it_is_where_the_project_publishes_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "default_name", lambda: "synthetic")
    with pytest.raises(UsageError, match=r"table\.csv: not there; give the directory with all files"):
        table_data.load(str(tmp_path), target="price")
    lines = ["area,town,rooms,price", *(",".join(each.values()) for each in rows())]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    assert table_data.load(str(tmp_path), target="price").version == TableData(rows(), "price", where="t").version
    folder = Source.of(str(tmp_path))
    assert (folder.is_known(), folder.has_listing(), folder.listed()) == (True, False, {})
    assert folder.make_words() == f"DATA={tmp_path}"
    assert Source.matches(str(tmp_path), "")
    assert not Source.matches("synthetic", str(tmp_path))
    with pytest.raises(UsageError, match="expected 10 bytes at most, got more than 10 bytes"):
        folder.read("table.csv", max_bytes=10)


def test_set_without_a_version_is_refused_with_the_command_that_records_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "LISTINGS", tmp_path)
    (tmp_path / "houses").mkdir()
    with pytest.raises(UsageError, match=r"houses: no version of houses is recorded; put its table\.csv there"):
        table_data.load("houses", target="price")
    (tmp_path / "houses/table.csv").touch()
    with pytest.raises(UsageError, match="no version of houses is recorded; make data-add DATASET=houses"):
        table_data.load("houses", target="price")


@pytest.mark.parametrize("body", [{"area": 1, "rooms": "2", "town": "Köln"}, {"area": 1.0, "rooms": 2, "town": "Köln"}])
def test_row_is_numbers_and_categories(body: dict[str, Any]) -> None:
    example = TableServing().decode(json.dumps(body).encode(), "application/json", SPEC)
    assert example.inputs["numbers"].tolist() == [1, 2]
    assert example.inputs["categories"].tolist() == [1]
    assert example.warnings == []


def test_what_is_missing_or_new_is_warned_of() -> None:
    example = TableServing().decode(b'{"rooms": null, "town": "Ulm"}', "application/json", SPEC)
    assert all(math.isnan(each) for each in example.inputs["numbers"])
    assert example.inputs["categories"].tolist() == [2]
    assert example.warnings == ["area is missing", "rooms is missing", "town has a value that no training row has"]


@pytest.mark.parametrize(
    "body",
    ["", "[]", "7", "{", '{"area": "wide"}', '{"area": 1e31}', '{"area": true}', '{"area": [1]}', '{"garden": 1}',
     '{"area": NaN}', '{"area": {"a": 1}}', '{"\x1b[2J": 1}', '{"area": 1e999}'],
)  # fmt: skip
def test_body_that_is_no_row_is_refused(body: str) -> None:
    with pytest.raises(Problem) as refusal:
        TableServing().decode(body.encode(), "application/json", SPEC)
    assert refusal.value.status == 422
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        {"numbers": "area"},
        {"numbers": ["area", "area"]},
        {"numbers": ["town"]},
        {"numbers": ["\x1b[2J"]},
        {"numbers": [], "categories": {}},
        {"categories": {"town": [1]}},
        {"categories": ["town"]},
        {"target": ""},
        {"target": 7},
    ],
    ids=str,
)
def test_impossible_spec_is_refused(change: dict[str, Any]) -> None:
    assert TableServing().check_spec(SPEC)["target"] == "price"
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        TableServing().check_spec(SPEC | change)
