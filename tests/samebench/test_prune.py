"""`make prune`: what is kept stays, what goes is gone at once, and nothing else is touched."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest

from samebench.core import command, file_lock
from samebench.core.command import UsageError
from samebench.core.untrusted import MAX_BYTES
from samebench.runs import prune, records
from samebench.runs.run import Run
from tests.commands import call
from tests.samebench.recorded import name, on_terminal, write_run

WORDS = ("-m", "samebench.runs.prune")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Six runs, of which 0 is the best and 5 the newest."""
    home = tmp_path / "runs"
    for number in range(6):
        write_run(home, number)
    return home


def left(home: Path) -> list[int]:
    """The numbers of the runs that are there, and a failure where anything else is."""
    there = sorted(path.name for path in home.iterdir())
    known = {name(number): number for number in range(99)}
    return [known[each] for each in there]


@pytest.mark.parametrize(
    ("keep", "numbers"),
    [
        ("best", [0]),
        ("last", [5]),
        ("2", [4, 5]),
        ("best,last,2", [0, 4, 5]),
        (f"{name(2)}, runs/{name(3)}", [2, 3]),
        ("99", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_only_what_is_named_stays(home: Path, keep: str, numbers: list[int]) -> None:
    done = call(*WORDS, "--yes", "--keep", keep, at=home.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(home) == numbers


def test_an_easier_data_set_has_a_best_of_its_own(home: Path) -> None:
    write_run(home, 6, validation_accuracy=1.0, data_version="e" * 64)
    write_run(home, 7, validation_accuracy=0.99, data_version="e" * 64)
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0
    assert left(home) == [0, 6]


@pytest.mark.parametrize("keep", ["", "best,", "0", "-1", "bset", "../runs", name(50), "runs"])
def test_a_word_that_names_nothing_deletes_nothing(home: Path, keep: str) -> None:
    done = call(*WORDS, "--yes", f"--keep={keep}", at=home.parent)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: KEEP=")
    assert done.stderr.count("\n") == 1
    assert left(home) == [0, 1, 2, 3, 4, 5]


def test_where_none_is_done_none_is_the_best_and_nothing_goes(tmp_path: Path) -> None:
    write_run(tmp_path, 0, state="failed")
    with pytest.raises(UsageError, match="KEEP=best: no run is done"):
        prune.select_to_keep(records.find(tmp_path), "best")


def test_without_a_terminal_it_tells_what_would_go_and_refuses(home: Path) -> None:
    (home / name(3) / "model.safetensors").write_bytes(bytes(3_000_000))
    done = call(*WORDS, "--keep", "best,last", at=home.parent)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 4 of 6 runs, 3.0 MB: no terminal to ask on, so nothing is deleted; say it ")
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [name(number) for number in (4, 3, 2, 1)]
    assert done.stdout.splitlines()[3].split()[3] == "3.0"
    assert left(home) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("answer", "code", "numbers"), [("y\n", 0, [0, 5]), ("n\n", 1, range(6)), ("\n", 1, range(6))])
def test_on_a_terminal_it_asks(home: Path, answer: str, code: int, numbers: list[int]) -> None:
    ended, shown = on_terminal([*WORDS, "--keep", "best,last"], at=home.parent, typed=answer)
    assert (ended, left(home)) == (code, list(numbers))
    assert name(3) in shown
    assert "4 of 6 runs, 0.0 MB: delete them? [y/N]" in shown


def test_the_end_of_input_at_the_question_deletes_nothing(home: Path) -> None:
    ended, _ = on_terminal([*WORDS, "--keep", "best"], at=home.parent, typed="\x04")
    assert ended == 1
    assert left(home) == [0, 1, 2, 3, 4, 5]


def test_a_run_in_progress_stays_untouched(home: Path) -> None:
    write_run(home, 6, state="running")
    handle, _ = file_lock.acquire(home / name(6))
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0
    assert left(home) == [0, 6]
    os.close(handle)
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0, "it was interrupted, then"
    assert left(home) == [0]


def test_a_run_that_is_taken_up_after_the_question_stays_and_is_told(home: Path) -> None:
    handle, _ = file_lock.acquire(home / name(3))  # its receipt says that it is done
    done = call(*WORDS, "--yes", "--keep", "best", at=home.parent)
    assert done.returncode == 1
    assert done.stderr == f"left: runs/{name(3)}: in progress in another process; wait for it, or stop it first\n"
    assert left(home) == [0, 3]
    os.close(handle)


@pytest.mark.parametrize("which", ["", ".lock", "tensorboard"])
def test_what_another_user_has_closed_stays_whole_and_the_others_go(
    home: Path, which: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / name(3) / "tensorboard").mkdir()
    closed, allowed, opened = str(home / name(3) / which), os.access, os.open  # root may do what it likes

    def refuse(path: str | Path, *rest: int, dir_fd: int | None = None) -> int:
        if str(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", closed)
        return opened(path, *rest, dir_fd=dir_fd)

    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != closed and allowed(path, mode))
    monkeypatch.setattr(os, "open", refuse)
    assert prune.delete_runs([records.read(home / name(number)) for number in (3, 4)]) == command.NO
    assert capsys.readouterr().err == f"left: {home / name(3)}: another user's; ask them to delete it\n"
    assert left(home) == [0, 1, 2, 3, 5]
    assert (home / name(3) / "receipt.json").is_file()


def test_who_waits_for_a_run_that_is_being_deleted_gets_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(home / name(3) / "receipt.json", home.parent)
    opened = os.open

    def late(path: str | Path, *rest: int) -> int:
        """Opens the lock, and only then comes to take it."""
        handle = opened(path, *rest)
        if Path(path).name == ".lock":
            monkeypatch.setattr(os, "open", opened)
            prune.delete(records.read(home / name(3)))
        return handle

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(UsageError, match="deleted by another process in this moment"):
        Run.open(home / name(3)).acquire()


def test_what_a_kept_run_was_started_from_stays_and_what_that_was(home: Path) -> None:
    write_run(home, 6, init={"run": f"runs/{name(3)}", "weights_sha256": "a" * 64})
    write_run(home, 7, init={"run": name(6), "weights_sha256": "a" * 64})
    write_run(home, 8, init={"run": name(4), "weights_sha256": "a" * 64})
    assert prune.select_to_keep(records.find(home), name(7)) == {name(7), name(6), name(3)}


def test_what_a_kept_run_was_started_from_stays_also_under_another_name(home: Path) -> None:
    write_run(home, 6, init={"run": name(3), "weights_sha256": "a" * 64})
    (home / name(3)).rename(home / name(2).replace("abcd", "good"))
    assert prune.select_to_keep(records.find(home), "last") == {name(6), name(2).replace("abcd", "good")}


@pytest.mark.parametrize(("init", "last"), [({"run": "gone"}, 6), ({"run": ""}, 6), (7, 5), ({"run": 7}, 5), ([], 5)])
def test_a_strange_origin_disturbs_nothing(home: Path, init: object, last: int) -> None:
    write_run(home, 6, init=init)  # a damaged run stays, and is not the last one
    assert prune.select_to_keep(records.find(home), "last") == {name(last), name(6)}


def test_links_lead_nowhere(home: Path) -> None:
    outside = write_run(home.parent / "elsewhere", 9).directory
    precious = home.parent / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    (home / name(9)).symlink_to(outside)
    (home / name(1) / "link").symlink_to(precious)
    (home / ".pruned-link").symlink_to(precious)
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0
    (home / ".pruned-link").unlink()
    assert left(home) == [0, 9]
    assert (precious / "file").read_text() == "keep"
    assert (outside / "receipt.json").is_file()


def damage(home: Path) -> list[int]:
    """Four runs whose receipts are cut, too large, missing and a link; their numbers."""
    write_run(home, 6)
    (home / name(6) / "receipt.json").rename(home.parent / "receipt.json")
    (home / name(6) / "receipt.json").symlink_to(home.parent / "receipt.json")
    (home / name(5) / "receipt.json").write_text("{")
    (home / name(4) / "receipt.json").write_bytes(b" " * (MAX_BYTES + 1))
    (home / name(3) / "receipt.json").unlink()
    (home / name(3) / "model.safetensors").write_bytes(b"weights")
    return [3, 4, 5, 6]


@pytest.mark.parametrize(("keep", "numbers"), [("best", [0]), ("last", [2]), ("2", [1, 2])])
def test_a_run_whose_receipt_is_cut_linked_too_large_or_missing_stays_and_what_deletes_it_is_said(
    home: Path, keep: str, numbers: list[int]
) -> None:
    damaged = damage(home)
    (home / "pictures").mkdir()
    done = call(*WORDS, "--yes", "--keep", keep, at=home.parent)
    assert done.returncode == 0
    (home / "pictures").rmdir()
    assert left(home) == [*numbers, *damaged], "a damaged one is neither the last nor one of the newest"
    lines = done.stderr.splitlines()
    assert [line.startswith("stays: runs/") for line in lines] == [True] * 4
    for line in lines:
        command = line.partition("by its name only: ")[2].split()
        assert command[:2] == ["make", "prune"]
        words = f"--delete={command[2].removeprefix('DELETE=')}"
        assert call(*WORDS, "--yes", words, at=home.parent).returncode == 0
    assert left(home) == numbers
    assert (home.parent / "receipt.json").is_file()


def test_a_damaged_run_that_is_named_to_stay_stays_beside_the_others(home: Path) -> None:
    (home / name(4) / "receipt.json").write_text("{")
    assert call(*WORDS, "--yes", "--keep", f"{name(4)},last", at=home.parent).returncode == 0
    assert left(home) == [4, 5]


def killed_early(home: Path, number: int) -> Path:
    """The folder of a training that was killed before its first receipt."""
    directory = home / name(number)
    directory.mkdir()
    for each in (".lock", "uncommitted.diff", ".receipt.json.0123abcd"):
        (directory / each).touch()
    return directory


def test_a_training_that_was_killed_before_its_first_receipt_goes(home: Path) -> None:
    killed_early(home, 6)
    assert "died before its first receipt" in call("-m", "samebench.runs.list_runs", at=home.parent).stdout
    done = call(*WORDS, "--yes", "--keep", "last", at=home.parent)
    assert (done.returncode, done.stderr, left(home)) == (0, "", [5])


@pytest.mark.parametrize("what", ["model.safetensors", "checkpoints", "notes.md", "heartbeat", "link", "live"])
def test_one_that_has_left_something_or_may_be_alive_elsewhere_stays(home: Path, what: str) -> None:
    directory, handle = killed_early(home, 6), -1
    if what == "heartbeat":
        elsewhere = {"boot": "another", "host": "far", "pid": 7, "token": "x"}
        (directory / ".heartbeat").write_text(json.dumps(elsewhere))
    elif what == "link":
        (directory / "uncommitted.diff").unlink()
        (directory / "uncommitted.diff").symlink_to("../../precious")
    elif what == "live":
        handle, _ = file_lock.acquire(directory)
    elif what == "checkpoints":
        (directory / what).mkdir()
        (directory / what / "step-00000001.safetensors").touch()
    else:
        (directory / what).touch()
    done = call(*WORDS, "--yes", "--keep", "best", at=home.parent)
    assert (done.returncode, left(home)) == (0, [0, 6])
    if handle >= 0:
        os.close(handle)


def test_where_only_damaged_runs_are_left_none_is_the_last(home: Path) -> None:
    for number in range(6):
        (home / name(number) / "receipt.json").unlink()
    done = call(*WORDS, "--yes", "--keep", "last", at=home.parent)
    assert (done.returncode, left(home)) == (2, [0, 1, 2, 3, 4, 5])
    assert "KEEP=last: no run is the last" in done.stderr


def test_only_what_is_named_is_deleted(home: Path) -> None:
    done = call(*WORDS, "--yes", "--delete", f"{name(1)}, runs/{name(2)},{name(1)}", at=home.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert left(home) == [0, 3, 4, 5]
    for words in (["--delete", name(1)], ["--delete", f"{name(0)},"], ["--delete", name(0), "--keep", "best"]):
        done = call(*WORDS, "--yes", *words, at=home.parent)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert left(home) == [0, 3, 4, 5]


def test_of_a_link_that_is_named_the_link_alone_is_deleted(home: Path) -> None:
    outside = write_run(home.parent / "elsewhere", 9).directory
    (outside / ".lock").unlink()
    (home / name(9)).symlink_to(outside)
    before = sorted(path.name for path in outside.iterdir())
    assert call(*WORDS, "--yes", "--delete", name(9), at=home.parent).returncode == 0
    assert left(home) == [0, 1, 2, 3, 4, 5]
    assert sorted(path.name for path in outside.iterdir()) == before


def test_a_reproduction_is_neither_the_last_nor_the_best_and_stays_if_it_is_named(home: Path) -> None:
    write_run(home, 6, reproduces=name(0), validation_accuracy=1.0)
    assert prune.select_to_keep(records.find(home), "last") == {name(5)}
    assert prune.select_to_keep(records.find(home), "2") == {name(5), name(4)}
    assert prune.select_to_keep(records.find(home), "best") == {name(0)}
    assert prune.select_to_keep(records.find(home), name(6)) == {name(6)}


def test_the_test_figure_decides_about_nothing(home: Path) -> None:
    for number, share in enumerate((0.1, 0.99)):
        path = home / name(number) / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": share}))
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0
    assert left(home) == [0]


def test_a_killed_deletion_leaves_nothing_that_is_taken_for_a_run_and_the_next_clears_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune.delete(records.read(home / name(5)))
    monkeypatch.undo()
    (grave,) = home.glob(".pruned-*")
    assert json.loads((grave / name(5) / "receipt.json").read_text())["run"] == name(5)
    assert [record.name for record in records.find(home)] == [name(number) for number in (4, 3, 2, 1, 0)]
    assert Run.newest(home).directory == home / name(4), "nor does the project see it"
    assert call(*WORDS, "--yes", "--keep", "best", at=home.parent).returncode == 0
    assert left(home) == [0]


def test_all_kept_is_said(home: Path) -> None:
    done = call(*WORDS, "--keep", "6", at=home.parent)
    assert (done.returncode, done.stdout) == (0, "nothing to delete, all 6 runs are kept\n")


def test_a_file_that_goes_while_sizes_are_taken_is_not_counted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "stays").write_bytes(b"12345")
    walked: list[tuple[str, list[str], list[str]]] = [(str(home), [], ["stays", ".receipt.json.0a1b2c3d"])]
    monkeypatch.setattr(os, "walk", lambda _: walked)
    assert prune.size(home) == 5


def test_a_run_that_was_resumed_while_we_were_asked_stays(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = records.find(home)[:2]
    resumed = listed[1].directory
    receipt = json.loads((resumed / "receipt.json").read_text())
    (resumed / "receipt.json").write_text(json.dumps(receipt | {"test_accuracy": 0.99}))
    assert prune.delete_runs(listed) == 1
    assert f"left: {resumed}: not as it was listed" in capsys.readouterr().err
    assert resumed.is_dir()
    assert not listed[0].directory.exists()


def test_no_file_of_a_run_is_open_while_it_is_deleted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def nfs(folder: Path, *, ignore_errors: bool = False) -> None:
        """As NFS: it keeps a file that is open under another name, and the folder can't be removed."""
        handles = [str(handle.resolve()) for handle in Path("/proc/self/fd").iterdir()]
        if any(handle.startswith(f"{folder}/") for handle in handles):
            raise OSError(errno.ENOTEMPTY, "Directory not empty", str(folder))
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", nfs)
    assert prune.delete_runs([records.read(home / name(3))]) == command.DONE
    assert left(home) == [0, 1, 2, 4, 5]


def test_a_run_that_somebody_else_has_deleted_is_not_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    going = [records.read(home / name(number)) for number in (3, 4)]
    shutil.rmtree(home / name(3))
    assert prune.delete_runs(going) == command.DONE
    assert capsys.readouterr() == ("1 deleted\n", "")


@pytest.mark.parametrize("number", [errno.EIO, errno.EBUSY])
def test_what_could_not_be_deleted_is_told_and_not_counted(
    home: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    remove = shutil.rmtree

    def fail(folder: Path, *, ignore_errors: bool = False) -> None:
        if list(folder.glob(name(3))):
            raise OSError(number, os.strerror(number), str(folder))
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", fail)
    assert prune.delete_runs([records.read(home / name(each)) for each in (3, 4)]) == command.NO
    shown = capsys.readouterr()
    assert shown.out == "1 deleted\n"
    assert shown.err.startswith(f"left: {home / name(3)}: ")
    assert os.strerror(number) in shown.err


def test_runs_of_another_project_are_kept_and_not_counted(home: Path) -> None:
    theirs = [write_run(home, number, project="prices").name for number in (8, 9)]
    kept = prune.select_to_keep(records.find(home), "last")
    assert {*theirs} < kept
    assert len(kept) == 3
