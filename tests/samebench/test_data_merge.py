"""Two branches change the files of a data set, then meet: the union, or one line that says what they disagree on."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.data import merge
from samebench.data.merge import three_way

from .team_checkouts import GIT, NAME, Member, init_checkout, with_dvc

__all__ = ["with_dvc"]  # fixtures


@pytest.fixture
def member(tmp_path: Path) -> Member:
    return init_checkout(tmp_path / "checkout")


def meet(member: Member, *words: str) -> None:
    """What ends in a conflict."""
    done = subprocess.run(["git", *words], cwd=member.root, env=os.environ | GIT, capture_output=True, text=True)
    assert "CONFLICT" in done.stdout, done.stdout + done.stderr


def files_meet(
    member: Member, base: Mapping[str, bytes], ours: Mapping[str, bytes], theirs: Mapping[str, bytes]
) -> None:
    for name, contents in (("main", base), ("a", theirs), ("b", ours)):
        if name != "main":
            member.git("switch", "--quiet", "--create", name, "main")
        shutil.rmtree(member.folder, ignore_errors=True)
        member.record(contents)
    meet(member, "merge", "a")


def test_files_that_a_side_adds_are_in_and_those_it_removes_are_out(member: Member) -> None:
    base = {"both": b"0", "gone": b"1", "changed": b"2"}
    files_meet(member, base, {**base, "ours": b"3"}, {"both": b"0", "changed": b"4", "theirs": b"5"})
    assert merge.merge(NAME, root=member.root) == merge.MergeResult(4, "git commit")
    assert member.contents() == {"both": b"0", "changed": b"4", "ours": b"3", "theirs": b"5"}


def test_a_file_that_both_sides_change_is_named(member: Member) -> None:
    base = {"same": b"0", "both": b"1", "removed": b"2"}
    files_meet(member, base, {**base, "both": b"3", "removed": b"4"}, {"same": b"0", "both": b"5"})
    with pytest.raises(UsageError, match=r"have changed 'both', 'removed' to different bytes; take one side"):
        merge.merge(NAME, root=member.root)
    remedy = "git checkout --ours -- 'data/shoes.*'"
    assert subprocess.run(["sh", "-c", remedy], cwd=member.root, env=os.environ | GIT).returncode == 0
    assert member.contents() == {**base, "both": b"3", "removed": b"4"}


def test_a_set_that_both_branches_begin_is_merged_too(member: Member) -> None:
    member.git("commit", "--quiet", "--allow-empty", "--message", "nothing yet")
    for name in ("a", "b"):
        member.git("switch", "--quiet", "--create", name, "main")
        shutil.rmtree(member.folder, ignore_errors=True)
        member.record({name: name.encode()})
    meet(member, "merge", "a")
    merge.merge(NAME, root=member.root)
    assert member.contents() == {"a": b"a", "b": b"b"}


def test_no_choice_of_three_versions_loses_what_one_side_has_added() -> None:
    values = [None, 1, 2, 3]
    for base in values:
        for ours in values:
            for theirs in values:
                sides = [{"x": each} if each else {} for each in (base, ours, theirs)]
                result, disagreed = three_way(*sides)
                if disagreed:
                    assert len({base, ours, theirs}) == 3
                    continue
                expected = ours if theirs in (base, ours) else theirs
                assert result.get("x") == expected
