import errno
import os
from pathlib import Path

import pytest

from samebench import files


def test_a_write_leaves_one_file_with_the_mode_of_the_umask(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_write_that_fails_leaves_the_old_file_and_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as failed:
        files.write(tmp_path / "a", b"new")
    assert failed.value.filename == str(tmp_path / "a")
    assert failed.value.strerror == "No space left on device, 3 bytes needed"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_who_reads_while_we_write_still_has_the_old_file_whole(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"old")
    with (tmp_path / "a").open("rb") as reader:
        files.write(tmp_path / "a", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_the_sweep_takes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in [".a.0123abcd", "below/.b.json.89abcdef", ".lock", ".a.0123abcde", "a.0123abcd", ".gitignore"]:
        (tmp_path / name).write_bytes(b"")
    files.sweep(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert left == {"below", ".lock", ".a.0123abcde", "a.0123abcd", ".gitignore"}
