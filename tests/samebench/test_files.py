import errno
import os
import stat
from pathlib import Path

import pytest

from samebench.core import files


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


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF])
def test_a_file_system_that_can_not_sync_folders_is_written_to_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(files, "_warned", set())
    for content in (b"old", b"new"):
        files.write(tmp_path / "a", content)
    assert (tmp_path / "a").read_bytes() == b"new"
    reason = os.strerror(number)
    warning = (
        f"warning: {tmp_path}: its file system can't sync folders ({reason}); a power cut may lose the last files\n"
    )
    assert capsys.readouterr().err == warning


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADF])
def test_a_file_that_can_not_be_synced_is_no_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    files.write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=os.strerror(number)) as failed:
        files.write(tmp_path / "a", b"new")
    assert failed.value.filename == str(tmp_path / "a")
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
