import lzma
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.tasks.text_classification.text_data import Text, TextData
from samebench.tasks.text_classification.tokens import BUCKETS, LENGTH, tokenize
from sections import data
from sections.data import FILE, read_index

INDEX = """\
Package: libfoo-perl
Source: libfoo (1.2-1)
Description: Perl bindings of foo
Section: contrib/perl
Description-md5: 00

Package: foo
Section: utils
Description: a tool: of many
 and more

Package: without-a-section
Description: left out
"""


def test_the_fields_of_each_package_are_read() -> None:
    assert read_index(lzma.compress(INDEX.encode()), where="here") == [
        Text("Perl bindings of foo", "perl", "libfoo"),
        Text("a tool: of many", "utils", "foo"),
    ]


@pytest.mark.parametrize(
    ("packed", "said"),
    [
        (b"", "here: cut off"),
        (INDEX.encode(), "here: Input format not supported"),
        (lzma.compress(INDEX.encode())[:-20], "here: cut off"),
        (lzma.compress(b"\xff" + INDEX.encode()), "here: 'utf-8' codec can't decode byte 0xff"),
        (lzma.compress(b"no packages"), "here: no packages"),
        (lzma.compress(INDEX.replace("utils", "\x1b[2J").encode()), "is no section"),
        (lzma.compress(INDEX.replace("libfoo (1.2-1)", " ").encode()), "is no source"),
        (lzma.compress(bytes(17 << 20)), "here: cut off, or more than 16,777,216 bytes"),
    ],
)
def test_anything_else_is_refused_in_one_line(packed: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MAX_BYTES", 16 << 20)
    with pytest.raises(UsageError, match=said) as refusal:
        read_index(packed, where="here")
    assert str(refusal.value).isprintable()


def test_any_changed_byte_is_refused_or_read() -> None:
    chance, packed = random.Random(0), lzma.compress(INDEX.encode())
    for place in range(len(packed)):
        changed = packed[:place] + bytes([packed[place] ^ chance.randrange(1, 256)]) + packed[place + 1 :]
        with suppress(UsageError):
            read_index(changed, where="here")


def test_a_directory_has_the_bytes_that_git_names(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(lzma.compress(INDEX.encode()))
    with pytest.raises(UsageError, match=f"{FILE}: expected sha256"):
        data.load(str(tmp_path))
    shutil.rmtree(tmp_path)
    with pytest.raises(UsageError, match=f"{FILE}: not there; give the directory with all files of debian-bookworm"):
        data.load(str(tmp_path))


@pytest.mark.parametrize("text", ["", "\0", "\ud800", "word " * 100_000, "é" * 1000, "日本語", "\x1b[2J"])
def test_any_text_has_tokens(text: str) -> None:
    tokens = tokenize(text)
    assert len(tokens) == LENGTH
    assert all(0 <= token < BUCKETS for token in tokens)


def test_tokens_know_no_case_and_no_spaces() -> None:
    assert tokenize("Perl  Bindings") == tokenize("perl bindings") != tokenize("bindings perl")
    assert tokenize("perl")[0] == 13819  # the same in every process and on every machine


def test_binaries_of_one_source_are_in_one_part_and_no_text_is_there_twice() -> None:
    packages = [Text(f"a{n % 900 // 30} b{n % 30}", f"s{n % 2}", f"source-{n // 3}") for n in range(1000)]
    made = TextData(packages, where="here")
    parts = (made.training, made.validation, made.test())
    assert sum(map(len, parts)) == 900
    assert all(len(part) > 40 for part in parts)
    of_source = {package.group: tokenize(package.text) for package in packages[:900]}
    assert len(of_source) == 300
    rows = [{tuple(row) for row in part["tokens"].tolist()} for part in parts]
    for first in range(0, 900, 3):
        texts = {tuple(tokenize(each.text)) for each in packages[first : first + 3]}
        assert sum(texts <= part for part in rows) == 1


def test_rare_sections_have_higher_weights() -> None:
    training = data.load("synthetic").training
    by_label = {
        int(label): float(weight) for label, weight in zip(training["labels"], training["weights"], strict=True)
    }
    counts = training["labels"].bincount().tolist()
    assert counts[0] == max(counts)
    assert by_label[0] == min(by_label.values()) < 1
