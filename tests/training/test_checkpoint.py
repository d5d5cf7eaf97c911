import errno
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.training import checkpoint
from samebench.training.checkpoint import Checkpoint
from tests import soak
from tests.commands import AS_STRANGER, STRANGER, open_to_others, start, stranger_may_start
from tests.samebench.disks import Disk, small_disk

TRAIN = ["-m", "samebench.training", "--data", "synthetic", "--network", "linear", "--epochs", "1000"]
SMALL = {"a": torch.arange(4.0)}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run.start(tmp_path / "runs")
    run.release()
    return run


def save(run: Run, step: int, tensors: dict[str, torch.Tensor] = SMALL) -> Path:
    facts: dict[str, Any] = {"settings": {}, "data_version": "", "device": "cpu", "history": [], "seconds": 0.5}
    checkpoint.save(run, Checkpoint(tensors=tensors, step=step, **facts))
    return run.checkpoints / f"step-{step:08}.safetensors"


def step_of(found: Checkpoint | None) -> int:
    assert found
    return found.step


def test_the_last_two_are_kept_each_with_its_facts_to_read(run: Run) -> None:
    for step in range(1, 6):
        save(run, step)
    names = ["step-00000004.json", "step-00000004.safetensors", "step-00000005.json", "step-00000005.safetensors"]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == names
    assert json.loads((run.checkpoints / "step-00000005.json").read_text())["step"] == 5
    assert step_of(checkpoint.load_newest(run)) == 5


def test_their_mode_is_that_of_the_umask(run: Run) -> None:
    before = os.umask(0o027)
    try:
        assert save(run, 1).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_where_none_was_saved_there_is_none(run: Run) -> None:
    assert checkpoint.load_newest(run) is None


def refused(run: Run, damaged: Path, capsys: pytest.CaptureFixture[str]) -> bool:
    """Whether `damaged` is named and set aside, and the one before it used; puts it back."""
    found = checkpoint.load_newest(run)
    damaged.with_suffix(".damaged").rename(damaged)
    return step_of(found) == 1 and str(damaged) in capsys.readouterr().out


def test_any_changed_byte_of_the_newest_is_found_and_the_one_before_used(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    save(run, 1)
    newest = save(run, 2)
    content = newest.read_bytes()
    for place in range(len(content)):
        newest.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        assert refused(run, newest, capsys)


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.soak)])
def test_any_changed_bit_of_a_real_one_is_found(count: int, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(count)
    save(run, 1)
    newest = save(run, 2, {f"layer{n}": torch.rand(300_000) for n in range(3)})
    size = newest.stat().st_size
    for _ in range(count):
        place, mask = chance.randrange(size), 1 << chance.randrange(8)
        flip(newest, place, mask)
        assert refused(run, newest, capsys)
        flip(newest, place, mask)
    assert step_of(checkpoint.load_newest(run)) == 2
    if count == 3000:
        soak.record("test_any_changed_bit_of_a_real_one_is_found", f"{count} of {count} named, the one before used")


def flip(path: Path, place: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ mask]))


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.soak)])
def test_any_truncation_of_a_real_one_is_found(count: int, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(count)
    save(run, 1)
    newest = save(run, 2, {"layer": torch.rand(900_000)})
    size = newest.stat().st_size
    # From the end, so that each is cut once more.
    for length in sorted((*(chance.randrange(size) for _ in range(count - 1)), 0), reverse=True):
        os.truncate(newest, length)
        assert refused(run, newest, capsys)
    if count == 300:
        soak.record("test_any_truncation_of_a_real_one_is_found", f"{count} of {count} named, the one before used")


def test_that_of_another_run_is_refused_by_name_and_not_lost(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Run.start(tmp_path / "runs")
    other.release()
    save(run, 1)
    stranger = save(other, 7)
    swapped = run.checkpoints / stranger.name
    shutil.copy(stranger, swapped)
    assert refused(run, swapped, capsys)
    assert swapped.read_bytes() == stranger.read_bytes()


def test_after_going_back_by_one_the_good_ones_are_kept_and_the_damaged_one_does_not_count(run: Run) -> None:
    for step in (10, 20, 30):
        newest = save(run, step)
    newest.write_bytes(b"")
    assert step_of(checkpoint.load_newest(run)) == 20
    save(run, 21)
    assert sorted(path.name for path in run.checkpoints.glob("*.safetensors")) == [
        "step-00000020.safetensors",
        "step-00000021.safetensors",
    ]


def test_where_all_are_damaged_training_stops_again_and_again(run: Run) -> None:
    for step in (1, 2):
        save(run, step).write_bytes(b"damaged")
    for _ in range(2):
        with pytest.raises(UsageError, match="no checkpoint in it is whole; start a new run"):
            checkpoint.load_newest(run)


@pytest.fixture
def disk(tmp_path: Path) -> Any:
    with small_disk(tmp_path, size=100 << 20) as disk:
        yield disk


def test_a_disk_that_is_full_at_any_point_of_a_save_leaves_what_was_there(disk: Disk) -> None:
    run = Run.start(disk.place / "runs")
    run.release()
    tensors = {"layer": torch.rand(250_000)}
    before = save(run, 1, tensors)
    needed = before.stat().st_size
    for part in range(20):
        disk.fill(but=needed * part // 20)
        with pytest.raises(OSError, match="No space left on device") as full:
            save(run, 2, tensors)
        assert full.value.errno == errno.ENOSPC
        assert str(full.value.filename).endswith("step-00000002.safetensors")
        assert f"{needed:,} bytes needed" in str(full.value)
        assert sorted(path.name for path in run.checkpoints.iterdir()) == [
            before.with_suffix(".json").name,
            before.name,
        ]
        assert step_of(checkpoint.load_newest(run)) == 1
    disk.fill(but=needed + (1 << 20))
    save(run, 2, tensors)


def test_a_directory_that_can_only_be_read_leaves_what_was_there(disk: Disk) -> None:
    run = Run.start(disk.place / "runs")
    run.release()
    save(run, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
    with pytest.raises(OSError, match="Read-only file system") as refusal:
        save(run, 2)
    assert str(refusal.value.filename).endswith("step-00000002.safetensors")
    assert step_of(checkpoint.load_newest(run)) == 1


def make_read_only(folder: Path) -> None:
    for words in (["mount", "--bind", str(folder), str(folder)], ["mount", "-o", "remount,bind,ro", str(folder)]):
        subprocess.run(words, check=True)


def forbid(folder: Path) -> None:
    folder.chmod(0o555)


@pytest.mark.parametrize(
    ("take_away", "said"), [(make_read_only, "Read-only file system"), (forbid, "Permission denied")]
)
def test_a_training_that_may_not_save_any_more_stops_in_one_line(
    take_away: Callable[[Path], None], said: str, disk: Disk
) -> None:
    if not stranger_may_start():
        pytest.skip("root may do all, and another user may not enter the folders of our Python and our sources")
    os.chown(disk.place, STRANGER, STRANGER)
    open_to_others(disk.place.parent)
    process = start(*TRAIN, at=disk.place, before=AS_STRANGER)
    while not (saved := list(disk.place.glob("runs/*/checkpoints/*.json"))) and process.poll() is None:
        time.sleep(0.01)
    take_away(saved[0].parent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    (directory,) = disk.place.glob("runs/[!.]*")
    place = re.escape(str(directory.relative_to(disk.place) / "checkpoints"))
    remedy = "make it writable, or work in another directory"
    resume = f"resume with: make train RESUME=runs/{directory.name}"
    # Before it git may refuse a checkout of another user.
    assert re.fullmatch(rf"error: {place}/step-\d+\.\w+: {said}; {remedy}; {resume}", err.splitlines()[-1]), err
    run = Run.open(directory)
    assert run.receipt["state"] == "interrupted"
    assert [path.name for path in run.checkpoints.glob(".*")] == []
    assert checkpoint.load_newest(run)
