import errno
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from apparel.run import ROOM, Run
from samebench import files
from samebench.command import Refusal
from tests.commands import call, start

MEBIBYTE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of our own with little more room than a run asks for."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place = tmp_path / "disk"
    place.mkdir()
    size = ROOM + MEBIBYTE
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> None:
    handle = os.open(place / "filler", os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while True:
            os.write(handle, bytes(4096))
    os.close(handle)


def test_too_little_room_is_told_in_one_line_before_any_work(disk: Path) -> None:
    (disk / "filler").write_bytes(bytes(2 * MEBIBYTE))
    done = call("-m", "apparel.train", "--data", "synthetic", "--epochs", "1", at=disk)
    assert done.returncode == 3
    assert done.stderr.startswith("error: runs: ")
    assert "free some room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(disk.glob("runs/*")) == []


def test_a_disk_that_fills_up_ends_the_run_in_one_line_with_nothing_half_written(disk: Path) -> None:
    process = start("-m", "apparel.train", "--data", "synthetic", "--epochs", "1000", at=disk)
    while not list(disk.glob("runs/*/receipt.json")) and process.poll() is None:
        time.sleep(0.01)
    fill(disk)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert err.count("\n") == 1, err
    assert "No space left on device" in err
    (run,) = disk.glob("runs/*")
    # Whole in either case; on a disk without one free block the state can't be told any more.
    assert json.loads((run / "receipt.json").read_text())["state"] in {"failed", "running"}
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_on_a_disk_without_a_byte_left_the_curves_make_room_for_the_state(disk: Path) -> None:
    run = Run.start(disk / "runs")
    (run.directory / "events.out.tfevents.1").write_bytes(bytes(8192))
    fill(disk)
    run.fail()
    assert Run.open(run.directory).receipt["state"] == "failed"


def test_a_receipt_that_cannot_be_written_leaves_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write", full)
    with suppress(OSError):
        Run.start(tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_file_where_runs_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(Refusal, match="runs: not a directory"):
        Run.start(tmp_path / "runs")


def test_runs_started_in_the_same_second_do_not_meet(tmp_path: Path) -> None:
    assert len({Run.start(tmp_path).directory for _ in range(20)}) == 20
