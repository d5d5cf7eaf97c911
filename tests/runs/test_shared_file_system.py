"""Runs on a file system that several machines share, and whose locks no other machine sees."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from samebench.core import command, file_lock, heartbeat
from samebench.core.command import UsageError
from samebench.core.file_lock import BusyError
from samebench.runs import prune, records
from samebench.runs.run import Run, sweep
from tests.commands import environment

# A process of another machine: its start of the machine is another one, and its lock is not seen here.
ELSEWHERE = """
import fcntl, sys
from pathlib import Path
from samebench.core import heartbeat
fcntl.flock = lambda *_: None
heartbeat.boot_id = lambda: "another machine"
from samebench.runs.run import Run
run = Run.start(Path(sys.argv[1]))
if sys.argv[2:]:
    run.end()
print(run.directory, flush=True)
sys.stdin.read()
"""


def start_elsewhere(home: Path, *words: str) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", ELSEWHERE, str(home), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout
    return process, Path(process.stdout.readline().strip())


@pytest.fixture
def run_elsewhere(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    process, directory = start_elsewhere(tmp_path)
    with process:
        yield process, directory
        process.kill()


def let_go_stale(directory: Path) -> None:
    then = (directory / heartbeat.FILE).stat().st_mtime - heartbeat.STALE - 1
    os.utime(directory / heartbeat.FILE, (then, then))


def test_a_run_at_work_on_another_machine_is_neither_marked_nor_resumed(
    run_elsewhere: tuple[subprocess.Popen[str], Path],
) -> None:
    process, directory = run_elsewhere
    assert records.read(directory).state == "running"
    sweep(directory.parent)
    assert Run.open(directory).receipt["state"] == "running"
    with pytest.raises(BusyError, match=rf"in progress in process {process.pid} on .*, which is alive; wait for it"):
        Run.open(directory).acquire()


def test_a_run_that_another_machine_works_on_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process, directory = start_elsewhere(tmp_path, "done")  # as one that is extended, and has no new receipt yet
    with process:
        assert prune.delete_runs([records.read(directory)]) == command.NO
        process.kill()
    assert directory.is_dir()
    assert "gave a sign of life" in capsys.readouterr().err


def test_a_run_killed_on_another_machine_is_interrupted_once_its_heartbeat_is_old(
    run_elsewhere: tuple[subprocess.Popen[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    process, directory = run_elsewhere
    process.kill()
    process.wait()
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine's clock is no witness
    assert records.read(directory).state == "running"
    let_go_stale(directory)
    assert records.read(directory).state == "interrupted"
    sweep(directory.parent)
    assert Run.open(directory).receipt["state"] == "interrupted"
    run = Run.open(directory)
    assert run.acquire(patience=0)
    run.release()


def test_a_run_killed_on_another_machine_can_be_resumed_after_it_was_watched(
    run_elsewhere: tuple[subprocess.Popen[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    process, directory = run_elsewhere
    process.kill()
    process.wait()
    monkeypatch.setattr(heartbeat, "WATCH", 0.5)
    run = Run.open(directory)
    with pytest.raises(BusyError, match=r"gave a sign of life \d seconds ago; stop it there, or wait"):
        run.acquire(patience=0)
    assert run.acquire()
    assert "watching for" in capsys.readouterr().err
    run.release()
    assert not (directory / heartbeat.FILE).exists()


def test_a_run_killed_on_this_machine_is_interrupted_at_once(tmp_path: Path) -> None:
    here = ELSEWHERE.replace("fcntl.flock =", "fcntl.other =").replace("heartbeat.boot_id =", "heartbeat.other =")
    with subprocess.Popen(
        [sys.executable, "-c", here, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout
        directory = Path(process.stdout.readline().strip())
        assert records.read(directory).state == "running"
        process.kill()
    assert (directory / heartbeat.FILE).exists()
    assert records.read(directory).state == "interrupted"
    sweep(tmp_path)
    assert Run.open(directory).receipt["state"] == "interrupted"


def test_a_process_whose_run_was_taken_over_writes_nothing_more(tmp_path: Path) -> None:
    stood_still = Run.start(tmp_path)
    (stood_still.directory / heartbeat.FILE).write_text("of another process")
    before = stood_still.receipt.copy()
    with pytest.raises(UsageError, match="taken over by another process; nothing more is written"):
        stood_still.record(state="done")
    with pytest.raises(UsageError, match="taken over"):
        stood_still.fail()
    stood_still.release()
    assert Run.open(stood_still.directory).receipt == before
    assert (stood_still.directory / heartbeat.FILE).read_text() == "of another process"


def test_without_locks_the_heartbeat_says_who_is_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_handle: int, _how: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    run = Run.start(tmp_path)
    assert file_lock.is_locked(run.directory) is True
    with pytest.raises(BusyError, match="gave a sign of life"):
        Run.open(run.directory).acquire(patience=0)
    let_go_stale(run.directory)
    assert file_lock.is_locked(run.directory) is False
    run.release()


def test_no_receipt_has_the_name_of_the_machine(tmp_path: Path) -> None:
    run = Run.start(tmp_path)
    host = heartbeat.Worker.current().host
    assert host in (run.directory / heartbeat.FILE).read_text()
    assert host not in (run.directory / "receipt.json").read_text()
    run.release()
    assert not (run.directory / heartbeat.FILE).exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"boot": 1, "host": "\\u001b[2J", "pid": "x", "token": 0}'])
def test_a_damaged_heartbeat_counts_as_one_of_another_machine(tmp_path: Path, content: str) -> None:
    run = Run.start(tmp_path)
    run.release()
    (run.directory / heartbeat.FILE).write_text(content)
    assert records.read(run.directory).state == "running"
    let_go_stale(run.directory)
    assert records.read(run.directory).state == "interrupted"


def test_a_folder_that_can_not_be_locked_itself_is_locked_by_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def nfs(handle: int, how: int) -> None:
        if how & fcntl.LOCK_EX and fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", nfs)
    with file_lock.exclusive(tmp_path) as locked:
        assert locked
        with (tmp_path / file_lock.FOLDER_LOCK).open("rb") as other, pytest.raises(BlockingIOError):
            flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with file_lock.exclusive(tmp_path) as locked:
        assert locked


def test_what_another_machine_has_not_finished_is_cleared_after_a_day(tmp_path: Path) -> None:
    names = [f"dvc-{file_lock.machine_tag()}-a", "dvc-01234567-b", "dvc-01234567-c"]
    for name in names:
        (tmp_path / name).mkdir()
    then = (tmp_path / names[2]).stat().st_mtime - file_lock.DAY - 1
    os.utime(tmp_path / names[2], (then, then))
    with file_lock.exclusive(tmp_path):
        assert sorted(path.name for path in file_lock.abandoned(tmp_path, "dvc-*")) == sorted([names[0], names[2]])
