import errno
import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from samebench.core import files
from samebench.core.command import UsageError
from samebench.runs.run import MIN_FREE_BYTES, Run
from tests.commands import call, start
from tests.samebench.disks import Disk, small_disk

MEBIBYTE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A file system of our own with little more room than a run asks for."""
    with small_disk(tmp_path, size=MIN_FREE_BYTES + MEBIBYTE) as disk:
        yield disk


def test_too_little_room_is_told_in_one_line_before_any_work(disk: Disk) -> None:
    (disk.place / "filler").write_bytes(bytes(2 * MEBIBYTE))
    done = call("-m", "samebench.training", "--data", "synthetic", "--epochs", "1", at=disk.place)
    assert done.returncode == 3
    assert done.stderr.startswith("error: runs: ")
    assert "free some room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(disk.place.glob("runs/[!.]*")) == []


def test_a_disk_that_fills_up_ends_the_run_in_one_line_with_nothing_half_written(disk: Disk) -> None:
    process = start("-m", "samebench.training", "--data", "synthetic", "--epochs", "1000", at=disk.place)
    while not list(disk.place.glob("runs/*/receipt.json")) and process.poll() is None:
        time.sleep(0.01)
    disk.fill()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.count("\n") == 1, err
    assert re.match(r"error: runs/\S+: No space left on device, [\d,]+ bytes needed; free some room", err), err
    (run,) = disk.place.glob("runs/[!.]*")
    # Whole in either case; on a disk without one free block the state can't be told any more.
    assert json.loads((run / "receipt.json").read_text())["state"] in {"interrupted", "running"}
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == [".lock"]


def test_on_a_disk_without_a_byte_left_the_curves_make_room_for_the_state(disk: Disk) -> None:
    run = Run.start(disk.place / "runs")
    (run.directory / "events.out.tfevents.1").write_bytes(bytes(8192))
    disk.fill()
    run.fail()
    assert Run.open(run.directory).receipt["state"] == "failed"


def test_a_receipt_that_cannot_be_written_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write", full)
    with suppress(OSError):
        Run.start(tmp_path / "runs")
    assert list((tmp_path / "runs").glob("[!.]*")) == []


def test_a_file_where_runs_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(UsageError, match="runs: not a directory"):
        Run.start(tmp_path / "runs")


def test_runs_started_in_the_same_second_do_not_meet(tmp_path: Path) -> None:
    assert len({Run.start(tmp_path).directory for _ in range(20)}) == 20


def test_what_was_not_committed_lies_beside_the_receipt(tmp_path: Path) -> None:
    run, clean = Run.start(tmp_path, uncommitted=b"a diff"), Run.start(tmp_path)
    assert (run.directory / "uncommitted.diff").read_bytes() == b"a diff"
    assert run.receipt["uncommitted_sha256"] == files.digest(run.directory / "uncommitted.diff")
    assert not (clean.directory / "uncommitted.diff").exists()
    assert clean.receipt["uncommitted_sha256"] is None
