"""Hashes of large files: remembered while the file is the same, and computed again after any change."""

import hashlib
import os
from pathlib import Path

import pytest

from samebench.core import files
from samebench.data import digests


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is large enough, and has not changed for a while."""
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    monkeypatch.setattr(digests, "MIN_BYTES", 4)
    monkeypatch.setattr(digests, "SETTLED", -1.0)
    path = tmp_path / "file"
    path.write_bytes(b"first")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    paths: list[Path] = []
    digest = files.digest

    def record(path: Path) -> str:
        paths.append(path)
        return digest(path)

    monkeypatch.setattr(files, "digest", record)
    return paths


def test_a_large_file_is_read_once(file: Path, reads: list[Path]) -> None:
    assert digests.sha256(file) == digests.sha256(file)
    assert reads == [file]
    assert digests.md5(file) == hashlib.md5(b"first", usedforsecurity=False).hexdigest()
    assert digests.sha256(file) == files.digest(file)


def test_each_change_is_seen_even_one_that_leaves_size_and_time(file: Path) -> None:
    first, status = digests.sha256(file), file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digests.sha256(file) == files.digest(file) != first
    replacement = file.with_name("replacement")
    replacement.write_bytes(b"third")
    replacement.replace(file)
    assert digests.sha256(file) == files.digest(file)


def test_a_file_that_has_just_changed_is_read_again(
    file: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "SETTLED", 60.0)
    digests.sha256(file)
    digests.sha256(file)
    assert reads == [file, file]


def test_a_small_file_is_read_each_time(file: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MIN_BYTES", 6)
    digests.sha256(file)
    digests.sha256(file)
    assert reads == [file, file]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"x": 1}', b"\xff", b"[" * 100_000])
def test_a_record_that_is_none_counts_for_nothing(file: Path, content: bytes) -> None:
    record = file.parent / ".samebench/digests.json"
    record.parent.mkdir()
    record.write_bytes(content)
    assert digests.sha256(file) == files.digest(file)


def test_only_the_last_files_are_remembered(file: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "MAX_FILES", 2)
    others = [file.with_name(f"{number}") for number in range(2)]
    for each in (file, *others):
        each.write_bytes(b"bytes")
        digests.sha256(each)
    digests.sha256(others[0])
    digests.sha256(file)
    assert reads == [file, *others, file]
