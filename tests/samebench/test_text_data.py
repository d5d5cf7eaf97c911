"""Texts with labels in a CSV."""

from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.tasks.text_classification import text_data
from samebench.tasks.text_classification.text_data import Text, TextData


def test_texts_are_read_dealt_out_and_there_once(tmp_path: Path) -> None:
    lines = [f'"{n // 20} and {n % 20}, long",{"ab"[n % 2]}' for n in range(300)]
    (tmp_path / "texts.csv").write_text("\n".join(["\ufefftext,label", *lines, lines[0]]), encoding="utf-8")
    texts = [*text_data.read_csv(tmp_path / "texts.csv")]
    assert texts[0] == Text("0 and 0, long", "a", "0 and 0, long")
    data = TextData(texts, where="t")
    assert data.spec["labels"] == ["a", "b"]
    assert sum(len(part) for part in (data.training, data.validation, data.test())) == 300
    assert data.version == TextData(list(texts), where="t").version
    assert data.version != TextData(texts[1:-1], where="t").version


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "no column label; give a CSV"),
        (b"words,label\na,b\n", "no column text; give a CSV"),
        (b"text,label\n", "no texts"),
        (b"text,label\na,\n", "row 2: without a text or a label"),
        (b"text,label\na\n", "row 2: not 2 cells"),
        (b"text,label\n\xff,b\n", "can't decode"),
    ],
)
def test_what_is_no_table_of_texts_is_refused_in_a_line(content: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=problem) as refusal:
        TextData(text_data.read_csv(path), where=path)
    assert "\n" not in str(refusal.value)


def test_too_few_texts_are_refused() -> None:
    with pytest.raises(UsageError, match="2 texts, too few"):
        TextData([Text("a", "x", "1"), Text("b", "y", "2")], where="t")
