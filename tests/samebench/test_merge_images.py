"""Two branches each add pictures to a set, then meet: the union, or one line that says what they disagree on."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.data import dataset_files, merge, versions
from samebench.tasks.image_classification import image_dataset, import_report, merge_images
from samebench.tasks.image_classification.image_dataset import ImageDataset

from .imports import imported as import_photos
from .pictures import folder
from .team_checkouts import NAME, Member, with_dvc
from .test_data_merge import meet, member

__all__ = ["member", "with_dvc"]  # fixtures


def imported(member: Member, photos: Path, side: int = 28) -> None:
    """What make data-import does."""
    made, findings = import_photos(photos, side)
    contents = {image_dataset.FILE: made.dumps(), image_dataset.REPORT: import_report.dumps(findings)}
    dataset_files.write(NAME, contents, home=member.root / "data")


def commit(member: Member, photos: Path, side: int = 28) -> None:
    imported(member, photos, side)
    versions.add(NAME, root=member.root)
    member.git("add", "--all")
    member.git("commit", "--quiet", "--message", "data")


def branch(member: Member, name: str, photos: Path, side: int = 28) -> None:
    member.git("switch", "--quiet", "--create", name, "main")
    commit(member, photos, side)


def merged(member: Member) -> merge.MergeResult:
    return merge.merge(NAME, root=member.root, resolve=merge_images.combine)


def names(known: ImageDataset) -> dict[str, str]:
    """The category of each image by where it was found."""
    return dict(zip(known.names, (known.categories[label] for label in known.labels.tolist()), strict=True))


def loaded(member: Member) -> ImageDataset:
    return ImageDataset.load(member.folder / image_dataset.FILE)


@pytest.fixture
def photos(tmp_path: Path) -> Mapping[str, Path]:
    """Pictures 0 to 14 of each class, and with them 15 to 19, or 20 to 27; and all."""
    made = {"base": folder(tmp_path / "base", 15)}
    for name, first, count in (("a", 15, 5), ("b", 20, 8)):
        made[name] = folder(Path(shutil.copytree(made["base"], tmp_path / name)), count, first=first)
    made["all"] = Path(shutil.copytree(made["a"], tmp_path / "all"))
    shutil.copytree(made["b"], made["all"], dirs_exist_ok=True)
    return made


@pytest.fixture
def apart(member: Member, photos: Mapping[str, Path]) -> Member:
    """On branch b; a and b have each added pictures to main's."""
    commit(member, photos["base"])
    branch(member, "a", photos["a"])
    branch(member, "b", photos["b"])
    return member


@pytest.mark.parametrize("words", [("merge", "a"), ("cherry-pick", "a"), ("rebase", "a")])
def test_the_union_of_two_branches_is_what_an_import_of_all_pictures_gives(
    words: tuple[str, ...], apart: Member, photos: Mapping[str, Path]
) -> None:
    meet(apart, *words)
    with pytest.raises(
        UsageError, match=rf"^data/{NAME}\.sha256: two branches have changed it, .* make data-merge DATASET={NAME}$"
    ):
        versions.add(NAME, root=apart.root)
    with pytest.raises(UsageError, match=f"make data-merge DATASET={NAME}$"):
        versions.load_version(NAME, root=apart.root)
    done = merged(apart)
    union, findings = import_photos(photos["all"])
    assert (apart.folder / image_dataset.FILE).read_bytes() == union.dumps()
    assert (apart.folder / image_dataset.REPORT).read_bytes() == import_report.dumps(findings)
    apart.git("add", "--all")
    assert not versions.add(NAME, root=apart.root), "as recorded"
    apart.git("-c", "core.editor=true", *done.finish.split()[1:])
    with pytest.raises(UsageError, match="no merge is in progress"):
        merged(apart)
    for revision, expected in (("a", "a"), ("main", "base")):
        apart.git("checkout", "--quiet", revision)
        assert apart.bring()
        assert len(loaded(apart).images) == len(import_photos(photos[expected])[0].images)


def test_markers_that_somebody_has_added_to_git_are_refused_too(apart: Member) -> None:
    meet(apart, "merge", "a")
    apart.git("add", "--all")
    with pytest.raises(UsageError, match=f"make data-merge DATASET={NAME}$"):
        versions.add(NAME, root=apart.root)
    assert merged(apart).files == 2
    assert not versions.add(NAME, root=apart.root)


def test_what_one_side_removes_or_labels_anew_is_so_in_the_union(member: Member, photos: Mapping[str, Path]) -> None:
    commit(member, photos["base"])
    (photos["a"] / "circle/00000.png").unlink()
    (photos["a"] / "circle/00003.png").rename(photos["a"] / "square/round.png")
    branch(member, "a", photos["a"])
    branch(member, "b", photos["b"])
    meet(member, "merge", "a")
    merged(member)
    known = names(loaded(member))
    assert "circle/00000.png" not in known
    assert "square" in {known.get("square/round.png"), known.get("circle/00003.png")}
    assert len(known) == 3 * 28 - 1


def test_a_picture_with_two_labels_is_named_and_nothing_is_changed(member: Member, photos: Mapping[str, Path]) -> None:
    commit(member, photos["base"])
    for side, label in (("a", "square"), ("b", "triangle")):
        (photos[side] / "circle/00003.png").rename(photos[side] / label / "other.png")
        branch(member, side, photos[side])
    meet(member, "merge", "a")
    before = {path: path.read_bytes() for path in (member.root / "data").rglob("*") if path.is_file()}
    with pytest.raises(
        UsageError, match=r"disagree on 1 images: triangle/other\.png is triangle \(\w+\) here and square"
    ):
        merged(member)
    assert {path: path.read_bytes() for path in (member.root / "data").rglob("*") if path.is_file()} == before
    assert not list((member.root / ".dvc/tmp/merge").iterdir())


def test_sides_of_other_sizes_are_refused(member: Member, photos: Mapping[str, Path]) -> None:
    commit(member, photos["base"])
    branch(member, "a", photos["a"], side=16)
    branch(member, "b", photos["b"])
    meet(member, "merge", "a")
    with pytest.raises(UsageError, match="images of 28 and 16 pixels a side"):
        merged(member)


def test_a_grey_and_a_coloured_version_are_of_colour_together(member: Member, tmp_path: Path) -> None:
    base = folder(tmp_path / "grey", 15, colour=False, kinds=["png"])
    commit(member, base)
    branch(member, "a", folder(Path(shutil.copytree(base, tmp_path / "a")), 5, first=15, kinds=["png"]))
    branch(member, "b", folder(Path(shutil.copytree(base, tmp_path / "b")), 5, first=20, colour=False, kinds=["png"]))
    meet(member, "merge", "a")
    merged(member)
    known = loaded(member)
    assert known.images.shape[:2] == (75, 3)
    grey = (known.images == known.images[:, :1]).flatten(1).all(1)
    assert int(grey.sum()) == 60


def test_bytes_of_nobodys_version_are_not_overwritten(apart: Member, tmp_path: Path) -> None:
    meet(apart, "merge", "a")
    imported(apart, folder(tmp_path / "unsaved", 20, first=50))
    mine = (apart.folder / image_dataset.FILE).read_bytes()
    with pytest.raises(UsageError, match=r"which no version has; mv .* && make data DATASET=shoes"):
        merged(apart)
    assert (apart.folder / image_dataset.FILE).read_bytes() == mine


def test_a_report_that_no_import_has_written_is_refused(apart: Member) -> None:
    apart.folder.joinpath(image_dataset.REPORT).write_text("a,b\n\x1b[31m\n")
    versions.add(NAME, root=apart.root)
    apart.git("commit", "--quiet", "--all", "--message", "odd")
    meet(apart, "merge", "a")
    with pytest.raises(UsageError, match=r"^report\.csv: not the report of an import"):
        merged(apart)
