"""`make note`: what was thought stays with the run, word for word, and the receipt stays as it was."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.runs import notes

from .checkout import copy_checkout, run
from .fakes import ENGINE, checkout, fake_engines, programs
from .recorded import name, write_run

__all__ = ["checkout", "programs"]  # fixtures

HARD = """it's "quoted" $HOME $$ $(shell touch made) ${x} `touch made` # 100% \\ \\n a=b; *
  second: línea 服\t$("""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with two runs."""
    tree = copy_checkout(tmp_path / "my work")
    for number in range(2):
        write_run(tree / "runs", number)
    return tree


def texts(directory: Path) -> list[str]:
    return [note.text for note in notes.read(directory)]


def test_a_text_arrives_as_it_was_given_through_make(tree: Path) -> None:
    done = run(
        ["make", "note", f"RUN=runs/{name(0)}", f"TEXT={HARD}"],
        cwd=tree,
        variables={"SAMEBENCH": "1", "PYTHONPATH": "src"},
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"runs/{name(0)}/notes.md\n")
    assert texts(tree / "runs" / name(0)) == [HARD]
    assert texts(tree / "runs" / name(1)) == []
    assert not (tree / "made").exists()


def test_a_text_arrives_as_it_was_given_through_make_and_a_container(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=f'{ENGINE}; [ "$1" != run ] || printf "%s" "$NOTE" >arrived')
    done = run(["make", "note", f"TEXT={HARD}"], cwd=checkout, path=programs)
    words = done.stdout.splitlines()
    assert words[words.index("NOTE") - 1] == "--env", "by its name: the engine takes the value from its own environment"
    assert (checkout / "arrived").read_text() == HARD
    assert HARD.splitlines()[0] not in done.stdout
    assert not (checkout / "made").exists()


def test_without_a_run_the_newest_gets_it(tree: Path) -> None:
    done = run(["make", "note", "TEXT=why"], cwd=tree, variables={"SAMEBENCH": "1", "PYTHONPATH": "src"})
    assert done.stdout == f"runs/{name(1)}/notes.md\n"
    assert texts(tree / "runs" / name(1)) == ["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: TEXT=: empty; give what is to be kept, such as TEXT='why I tried this'"),
        (["TEXT=  "], "error: TEXT=: empty; give what is to be kept"),
        (
            ["TEXT=why", f"RUN=runs/{name(0)[:-1]}x"],
            f"error: RUN=runs/{name(0)[:-1]}x: no run; did you mean {name(0)}?",
        ),
        (["TEXT=why", "RUN=zz"], "error: RUN=zz: no run; make runs lists those there are"),
    ],
)
def test_a_mistake_is_refused_in_one_line(tree: Path, words: list[str], said: str) -> None:
    done = run(["make", "note", *words], cwd=tree, variables={"SAMEBENCH": "1", "PYTHONPATH": "src"})
    assert done.stderr.splitlines()[0].startswith(said)
    assert len(done.stderr.splitlines()) == 2, "ours, and make's own"
    assert not list(tree.glob("runs/*/notes.md"))


def test_notes_are_added_and_the_receipt_stays(tmp_path: Path) -> None:
    directory = write_run(tmp_path, 0).directory
    before = (directory / "receipt.json").read_bytes()
    for text in ("one", "two\n\n- 2026-11-25T08:00:00Z  no note of its own\nlines\n", "three"):
        notes.add(directory, text)
    assert texts(directory) == ["one", "two\n\n- 2026-11-25T08:00:00Z  no note of its own\nlines\n", "three"]
    assert (directory / "receipt.json").read_bytes() == before
    assert (directory / "notes.md").read_text().startswith("- 20")


def test_what_an_editor_has_put_there_is_neither_lost_nor_a_note(tmp_path: Path) -> None:
    directory = write_run(tmp_path, 0).directory
    (directory / "notes.md").write_text("# Mine, without an end")
    notes.add(directory, "ours")
    assert (directory / "notes.md").read_text().startswith("# Mine, without an end\n- 20")
    assert texts(directory) == ["ours"]


def test_notes_written_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    directory = write_run(tmp_path, 0).directory
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: notes.add(directory, str(number)), range(40)))
    assert sorted(texts(directory), key=int) == [str(number) for number in range(40)]


def test_on_a_full_disk_the_older_notes_stay_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = write_run(tmp_path, 0).directory
    notes.add(directory, "one")
    before = sorted(path.name for path in directory.iterdir())

    def full(_handle: int, _content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space left"):
        notes.add(directory, "two")
    monkeypatch.undo()
    assert texts(directory) == ["one"]
    assert sorted(path.name for path in directory.iterdir()) == before


def test_a_link_in_the_place_of_the_notes_is_not_followed(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "runs", 0).directory
    (tmp_path / "secret").write_text("- 2026-11-25T08:00:00Z  secret\n")
    (directory / "notes.md").symlink_to(tmp_path / "secret")
    assert texts(directory) == []
    notes.add(directory, "ours")
    assert (tmp_path / "secret").read_text() == "- 2026-11-25T08:00:00Z  secret\n"
    assert texts(directory) == ["ours"]


def test_a_folder_in_the_place_of_the_notes_is_named(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "runs", 0).directory
    (directory / "notes.md").mkdir()
    assert texts(directory) == []
    with pytest.raises(UsageError, match=r"notes\.md: a folder; call it something else"):
        notes.add(directory, "ours")


def test_an_empty_note_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="TEXT=: empty"):
        notes.add(write_run(tmp_path, 0).directory, "\n")
