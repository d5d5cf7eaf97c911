"""Versions of data: recorded, carried to a remote and back, by real DVC."""

import os
import subprocess
from pathlib import Path

import pytest
import safetensors.torch
import torch

from samebench.core import files
from samebench.core.command import RequirementError, UsageError
from samebench.data import checked_safetensors, listing, versions

from .team_checkouts import FIRST, NAME, SECOND, Member, directory, flip, forbid_dvc, member, remote, with_dvc

__all__ = ["directory", "member", "remote", "with_dvc"]  # fixtures


def test_what_one_records_and_pushes_another_brings_to_the_byte(member: Member, remote: Path, tmp_path: Path) -> None:
    member.record(FIRST)
    assert member.push() == os.environ["DATA_REMOTE"]
    teammate = member.clone(tmp_path / "teammate")
    assert teammate.bring()
    assert teammate.contents() == FIRST
    assert teammate.is_clean()
    assert list(remote.rglob("*.dir"))


def test_data_that_is_there_and_right_needs_no_dvc(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    member.record(FIRST)
    forbid_dvc(monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in member.folder.iterdir()}
    assert not member.bring()
    assert {path: path.stat().st_mtime_ns for path in member.folder.iterdir()} == before


def test_files_in_folders_of_a_set_come_back_too(member: Member, directory: Path, tmp_path: Path) -> None:
    (member.folder / "left").mkdir(parents=True)
    member.record({"left/images": b"left images", "labels": b"labels"})
    member.push()
    teammate = member.clone(tmp_path / "teammate")
    assert teammate.bring()
    assert (teammate.folder / "left/images").read_bytes() == b"left images"
    assert not teammate.bring()


def test_going_back_and_forth_between_versions_needs_no_dvc_either(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = member.record(FIRST)
    member.record(SECOND)
    forbid_dvc(monkeypatch)
    for commit, expected in ((first, FIRST), ("main", SECOND), (first, FIRST)):
        member.git("checkout", "--quiet", commit)
        assert member.bring()
        assert member.contents() == expected
    assert member.is_clean()


def test_what_a_killed_import_has_not_yet_put_into_place_is_not_recorded(member: Member) -> None:
    (member.root / f"data/.{NAME}.new").mkdir(parents=True)
    with pytest.raises(UsageError, match=rf"\.{NAME}\.new: not all in its place, .* first make data DATASET={NAME}$"):
        member.record(FIRST)
    assert not list(member.root.glob(f"data/{NAME}.*"))


@pytest.mark.parametrize("name", ["shoes/", "data/shoes", "../src", ".", ""])
def test_a_path_is_no_name_of_a_set(name: str, tmp_path: Path) -> None:
    (tmp_path / "data/shoes").mkdir(parents=True)
    (tmp_path / "data/shoes/images").write_bytes(b"images")
    for asked in (versions.add, versions.push, versions.load_version):
        with pytest.raises(UsageError, match=f"^DATASET={name}: a path; give the name of a folder of data/ alone$"):
            asked(name, root=tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "shoes", "images"]


def test_recording_again_changes_nothing_and_leaves_the_files_alone(member: Member) -> None:
    member.record(FIRST)
    before = [path.stat() for path in sorted(member.folder.iterdir())]
    assert not versions.add(NAME, root=member.root)
    assert [path.stat()[:9] for path in sorted(member.folder.iterdir())] == [each[:9] for each in before]
    assert member.git("status", "--porcelain") == ""
    assert before[0].st_nlink == 1, "what is edited in place must not be the cache's"


def test_bytes_that_no_version_has_are_never_overwritten(member: Member) -> None:
    first = member.record(FIRST)
    member.record(SECOND)
    member.git("checkout", "--quiet", first)
    member.bring()
    member.write({"images": b"an afternoon's work"})
    with pytest.raises(
        UsageError, match=r"images: expected sha256 .*, which no version has; mv .*; or, to make a version of it"
    ):
        member.bring()
    assert member.contents() == {**FIRST, "images": b"an afternoon's work"}
    versions.add(NAME, root=member.root)
    member.git("stash", "--quiet")
    assert member.bring()
    assert member.contents() == FIRST
    member.git("stash", "pop", "--quiet")
    assert member.bring()
    assert member.contents()["images"] == b"an afternoon's work"


def test_versions_that_were_never_pushed_go_along_with_the_next_push(
    member: Member, remote: Path, tmp_path: Path
) -> None:
    first = member.record(FIRST)
    member.git("switch", "--quiet", "--create", "elsewhere")
    aside = member.record({"images": b"of a branch that nobody has asked for"})
    member.git("switch", "--quiet", "main")
    member.bring()
    member.record(SECOND)
    member.push()
    teammate = member.clone(tmp_path / "teammate")
    for commit, expected in (("main", SECOND), (first, FIRST)):
        teammate.git("checkout", "--quiet", commit)
        assert teammate.bring()
        assert teammate.contents() == expected
    teammate.git("checkout", "--quiet", aside)
    with pytest.raises(RequirementError, match="this version is not in the cache"):
        teammate.bring()


def test_what_is_said_of_them_puts_them_aside(member: Member) -> None:
    member.record(FIRST)
    member.write({"images": b"an afternoon's work"})
    with pytest.raises(UsageError) as refused:
        member.bring()
    put, _, rest = str(refused.value).split("; ")[1].partition(" && ")
    assert rest == "make data DATASET=shoes"
    subprocess.run(["sh", "-c", put], cwd=member.root, check=True)
    assert member.bring()
    assert member.contents() == {**FIRST, ".images.other": b"an afternoon's work"}
    assert not versions.add(NAME, root=member.root), "nor is it recorded"


def test_a_sealed_file_that_is_damaged_is_not_recorded(member: Member) -> None:
    whole = checked_safetensors.dumps("dataset", {"images": torch.zeros(3)}, {})
    foreign = safetensors.torch.save({"images": torch.zeros(3)})
    member.write({"ours.safetensors": whole, "another.safetensors": foreign})
    assert versions.add(NAME, root=member.root)
    flip(member.folder / "ours.safetensors", place=-1)
    with pytest.raises(
        UsageError, match=r"ours.safetensors: damaged, expected .* && make data DATASET=shoes, or import"
    ):
        versions.add(NAME, root=member.root)


def test_published_bytes_that_another_version_replaces_are_in_the_cache_first(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = member.record(FIRST)
    member.record(SECOND)
    for path in member.objects():
        if files.digest(path) in versions.load_version(NAME, revision=first, root=member.root).listing.values():
            path.unlink()
    member.write(FIRST)  # as if it had come from its publisher, past the cache
    assert member.bring() is True
    assert member.contents() == SECOND
    forbid_dvc(monkeypatch)
    member.git("checkout", "--quiet", first)
    assert member.bring()
    assert member.contents() == FIRST


def test_a_file_of_another_version_goes_and_a_file_of_the_user_stays(member: Member) -> None:
    first = member.record(FIRST)
    member.record({"extra": b"a third file"})
    member.git("checkout", "--quiet", first)
    member.write({"notes": b"mine", "labels": b"x"})
    with pytest.raises(UsageError, match="labels: expected"):
        member.bring()
    member.write({"labels": FIRST["labels"]})
    (member.folder / "images").unlink()
    member.bring()
    assert member.contents() == {**FIRST, "notes": b"mine"}


def test_published_data_that_came_without_dvc_can_be_pushed(member: Member, directory: Path, tmp_path: Path) -> None:
    member.record(FIRST)
    teammate = member.clone(tmp_path / "teammate")

    def public(folder: Path, missing: object) -> None:
        Member(teammate.root).write(FIRST)

    assert teammate.bring(public=public)
    assert not teammate.objects()
    teammate.push()
    assert member.clone(tmp_path / "third").bring()


def test_what_is_nowhere_is_said_with_what_helps(
    member: Member, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATA_REMOTE", raising=False)
    member.record(FIRST)
    teammate = member.clone(tmp_path / "teammate")
    with pytest.raises(RequirementError, match=r"not in the cache .*, and no remote is set; give DATA_REMOTE="):
        teammate.bring()
    with pytest.raises(UsageError, match="no remote is set; give DATA_REMOTE="):
        member.push()
    monkeypatch.setenv("DATA_REMOTE", str(tmp_path))
    with pytest.raises(UsageError, match="the recorded version is not here; first make data DATASET=shoes"):
        teammate.push()
    with pytest.raises(RequirementError, match=f"nor on {tmp_path}; whoever has it: make data-push DATASET=shoes"):
        teammate.bring()
    with pytest.raises(UsageError, match=r"data/boots.sha256: not there; known are shoes"):
        versions.load_version("boots", root=member.root)
    with pytest.raises(UsageError, match="HEAD~9: no revision that git knows here"):
        versions.load_version(NAME, revision="HEAD~9", root=member.root)


def test_a_listing_and_a_pointer_of_two_versions_are_refused(member: Member, directory: Path, tmp_path: Path) -> None:
    member.record(FIRST)
    (member.root / f"data/{NAME}.sha256").write_text(f"{'0' * 64}  images\n")
    with pytest.raises(UsageError, match="not of one version, they tell of different bytes in images"):
        member.push()
    member.git("commit", "--quiet", "--all", "--message", "forgot data-add")
    teammate = member.clone(tmp_path / "teammate")
    member.git("checkout", "--quiet", "HEAD~1")
    member.push()
    with pytest.raises(UsageError, match="where the data is right: make data-add DATASET=shoes, and commit both"):
        teammate.bring()
    assert teammate.contents() == {}


@pytest.mark.parametrize("text", ["x", "", f"{'0' * 63}  images", "0" * 64])
def test_a_listing_with_a_line_that_is_none_is_refused_by_its_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/shoes.sha256").write_text(f"{'0' * 64}  two words\n{text}\n")
    with pytest.raises(UsageError, match=r"^data/shoes\.sha256, line 2: .* take the listing of one version$"):
        versions.load_version(NAME, root=tmp_path)
    assert listing.parse(f"{'0' * 64}  two words\n{'1' * 64} *binary\n", where="") == {
        "two words": "0" * 64,
        "binary": "1" * 64,
    }
