"""Tables of text: what a letter takes, and what goes first where there is little room."""

from samebench.core.table import render, width
from samebench.core.text import printable

ROWS = [{"run": "one", "test_accuracy": "93.00%", "note": "a long thought about all of it, and more"}]


def test_wide_letters_take_two_columns_and_accents_none() -> None:
    assert width("服 a") == 4
    assert width("e\u0301") == 1


def test_a_text_is_cut_by_the_columns_it_takes() -> None:
    rows = [{"note": "服" * 20}, {"note": "a" * 40}]
    assert render(rows, columns=21, truncatable=["note"]).splitlines() == ["note", "服" * 10 + "…", "a" * 20 + "…"]


def test_nothing_is_cut_where_there_is_room_or_no_terminal() -> None:
    whole = ["     test", "run  accuracy  note", "one  93.00%    a long thought about all of it, and more"]
    for columns in (None, 55):
        assert render(ROWS, columns=columns, truncatable=["note"], droppable=["run"]).splitlines() == whole


def test_texts_are_cut_before_a_column_goes_and_lines_at_last() -> None:
    cut = render(ROWS, columns=43, truncatable=["note"], droppable=["run"]).splitlines()[-1]
    assert cut == "one  93.00%    a long thought about all of…"
    gone = render(ROWS, columns=42, truncatable=["note"], droppable=["run"]).splitlines()[-1]
    assert gone == "93.00%    a long thought about all of it,…"
    assert render(ROWS, columns=9, truncatable=["note"], droppable=["run"]).splitlines()[-1] == "93.00%  …"


def test_what_steers_a_terminal_is_replaced_and_lines_become_one() -> None:
    assert printable("a\x1b[31m\x07\u202e\u200b\ud800b\nc\td") == "a�[31m����b c�d"
