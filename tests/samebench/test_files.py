import errno
import os
from pathlib import Path

import pytest

from samebench import files
from samebench.command import Refusal


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
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_who_reads_while_we_write_still_has_the_old_file_whole(tmp_path: Path) -> None:
    files.write(tmp_path / "a", b"old")
    with (tmp_path / "a").open("rb") as reader:
        files.write(tmp_path / "a", b"new")
        assert reader.read() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_what_is_sealed_comes_back(tmp_path: Path) -> None:
    files.write(tmp_path / "a", files.seal(b"one\ntwo"))
    assert files.unseal(tmp_path / "a") == b"one\ntwo"


def test_every_flipped_bit_in_a_sealed_file_is_found(tmp_path: Path) -> None:
    content = files.seal(b"payload")
    for place in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(Refusal, match=r"damaged|not a sealed file"):
            files.unseal(tmp_path / "a")


@pytest.mark.parametrize("length", [0, 10, 81, 88])
def test_a_truncated_sealed_file_is_refused(length: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(files.seal(b"payload!")[:length])
    with pytest.raises(Refusal):
        files.unseal(tmp_path / "a")
