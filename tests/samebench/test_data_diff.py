"""What has changed between two versions: counts by category that add up, of examples or of files."""

import dataclasses
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from samebench import project
from samebench.core.command import UsageError
from samebench.data import diff
from samebench.data.diff import Change, Diff, Example

from .team_checkouts import NAME, Member, forbid_dvc, init_checkout

BOOT, BAG = "boot", "bag"


def example(content: str, label: str = BOOT, part: str = "training", name: str = "") -> Example:
    return Example(content, label, part, name or content)


def counts(change: Change) -> dict[str, int]:
    return {name: value for name, value in vars(change).items() if value}


def total(changes: dict[str, Change]) -> dict[str, int]:
    return counts(Diff(changes, "").total)


def test_an_image_with_another_label_is_relabelled_wherever_it_lies() -> None:
    changes = diff.diff_examples([example("1"), example("2")], [example("2"), example("1", BAG, name="elsewhere")])
    assert counts(changes[BOOT]) == {"a": 2, "relabelled_from": 1, "b": 1}
    assert counts(changes[BAG]) == {"relabelled_to": 1, "b": 1}


def test_other_content_under_the_same_name_is_changed() -> None:
    changes = diff.diff_examples([example("1", name="x")], [example("2", name="x")])
    assert counts(changes[BOOT]) == {"a": 1, "changed": 1, "b": 1}


def test_what_neither_content_nor_name_knows_was_added_or_removed() -> None:
    changes = diff.diff_examples([example("1"), example("2")], [example("2"), example("3", BAG)])
    assert counts(changes[BOOT]) == {"a": 2, "removed": 1, "b": 1}
    assert counts(changes[BAG]) == {"added": 1, "b": 1}


def test_an_image_that_went_from_training_to_test_has_moved() -> None:
    changes = diff.diff_examples([example("1")], [example("1", part="test")])
    assert counts(changes[BOOT]) == {"a": 1, "moved": 1, "b": 1}


def test_images_that_only_lie_elsewhere_in_the_file_are_the_same() -> None:
    before = [example(str(number), name=str(number)) for number in range(20)]
    after = [dataclasses.replace(one, name=str(place)) for place, one in enumerate(before[3:])]
    assert total(diff.diff_examples(before, after)) == {"a": 20, "removed": 3, "b": 17}


def test_of_equal_images_only_as_many_are_new_as_there_are_more() -> None:
    twins = [example("1", name=str(number)) for number in range(3)]
    assert total(diff.diff_examples(twins[:2], twins)) == {"a": 2, "added": 1, "b": 3}
    assert total(diff.diff_examples(twins, twins[2:])) == {"a": 3, "removed": 2, "b": 1}


def test_the_rows_add_up_and_no_order_makes_a_difference() -> None:
    chance = random.Random(0)
    for _ in range(300):
        a, b = (
            [
                example(chance.choice("abcdef"), chance.choice((BOOT, BAG)), chance.choice(("training", "test")), name)
                for name in chance.sample("uvwxyz", chance.randrange(6))
            ]
            for _ in range(2)
        )
        for change in diff.diff_examples(a, b).values():
            moved = change.added - change.removed + change.relabelled_to - change.relabelled_from
            assert change.a + moved == change.b
        assert set(total(diff.diff_examples(a, a[::-1]))) <= {"a", "b"}


# ---- sets whose examples nobody reads ----


@pytest.fixture
def member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Member:
    """The checkout of a project that reads no examples."""
    member = init_checkout(tmp_path / "checkout")
    monkeypatch.setattr(diff, "ROOT", member.root)
    monkeypatch.setattr(project, "task", lambda: SimpleNamespace(example_reader=lambda _files: None))
    return member


def test_the_files_of_two_revisions_are_compared_without_a_byte_of_them(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.record({"train.csv": b"1", "test.csv": b"2", "gone.csv": b"3"})
    (member.folder / "gone.csv").unlink()
    member.record({"train.csv": b"4", "new.csv": b"5"})
    forbid_dvc(monkeypatch)
    shutil.rmtree(member.root / ".dvc/cache")
    here = diff.compare(NAME, "HEAD~1", "")
    shutil.rmtree(member.folder)
    changes = diff.compare(NAME, "HEAD~1", "HEAD")
    assert changes == here
    assert changes.unit == "files"
    assert counts(changes.total) == {"a": 3, "added": 1, "removed": 1, "changed": 1, "b": 3}
    with pytest.raises(UsageError, match=rf"^data/{NAME}: no files there; make data DATASET={NAME} first$"):
        diff.compare(NAME, "HEAD~1", "")


def test_the_category_of_a_file_is_its_folder(member: Member) -> None:
    for label in ("boot", "bag"):
        (member.folder / label).mkdir(parents=True)
    member.record({"boot/1": b"1", "boot/2": b"2"})
    (member.folder / "boot/1").rename(member.folder / "bag/1")
    changes = diff.compare(NAME, "HEAD", "").changes
    assert {label: counts(change) for label, change in changes.items()} == {
        "bag": {"relabelled_to": 1, "b": 1},
        "boot": {"a": 2, "relabelled_from": 1, "b": 1},
    }


def test_a_set_that_only_one_version_has_is_all_new_or_all_gone(member: Member) -> None:
    member.git("commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    member.record({"a": b"1", "b": b"2"})
    for a, b, expected in (("HEAD~1", "HEAD", {"added": 2, "b": 2}), ("HEAD", "HEAD~1", {"a": 2, "removed": 2})):
        assert counts(diff.compare(NAME, a, b, optional=True).total) == expected
    with pytest.raises(UsageError, match="not there in HEAD~1"):
        diff.compare(NAME, "HEAD~1", "HEAD")


def test_where_only_one_version_has_examples_the_files_are_compared(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    member.record({"plain": b"1"})
    (member.folder / "plain").unlink()
    member.record({"examples": b"1"})
    readers = {"plain": None, "examples": lambda _folder: [example("1"), example("2")]}
    task = SimpleNamespace(example_reader=lambda files: readers[next(iter(files))])
    monkeypatch.setattr(project, "task", lambda: task)
    assert counts(diff.compare(NAME, "HEAD~1", "HEAD").total) == {"a": 1, "b": 1}
    assert counts(diff.compare(NAME, "HEAD", "").total) == {"a": 2, "b": 2}


def test_a_link_in_the_folder_of_a_set_is_refused(member: Member, tmp_path: Path) -> None:
    member.record({"a": b"1"})
    (member.folder / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="a symbolic link, which could lead anywhere"):
        diff.compare(NAME, "HEAD", "")


def test_a_revision_has_to_be_given() -> None:
    with pytest.raises(UsageError, match="A=: give a revision of git"):
        diff.main([""])
