"""Data sets of one's own: written whole or not at all, and loaded as they were written."""

import errno
import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from samebench.core import file_lock
from samebench.core.command import RequirementError, UsageError
from samebench.data import checked_safetensors, dataset_files, fetch
from samebench.tasks.image_classification import image_dataset
from samebench.tasks.image_classification.image_dataset import ImageDataset, ImageEntry
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing


def small(seed: int, *, count: int = 30, channels: int = 3, categories: int = 3) -> ImageDataset:
    """A set of noise."""
    images = torch.randint(0, 256, (count, channels, 8, 8), generator=torch.manual_seed(seed)).to(torch.uint8)
    return ImageDataset(
        images=images,
        labels=torch.arange(count) % categories,
        parts=(torch.arange(count) % 5).clamp_max(2).to(torch.uint8),
        categories=tuple(f"label {number:03}" for number in range(categories)),
        names=tuple(f"a/{number}.png" for number in range(count)),
        preparation=ImageTransform(8, channels),
        preprocessing=Preprocessing.of(images),
    )


def write(made: ImageDataset, report: bytes = b"") -> None:
    dataset_files.write("noise", {image_dataset.FILE: made.dumps(), image_dataset.REPORT: report})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_comes_back_as_it_was_written(home: Path, channels: int) -> None:
    made = small(0, channels=channels)
    write(made, b"path\n")
    assert image_dataset.read("noise").dumps() == made.dumps()
    known = image_dataset.load("noise")
    assert known.labels == made.categories
    assert known.preparation == ImageTransform(8, channels)
    assert known.preprocessing == made.preprocessing
    for part, split in enumerate([known.training, known.validation, known.test()]):
        assert torch.equal(split.images, made.images[made.parts == part])
        assert torch.equal(split.labels, made.labels[made.parts == part])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_is_written_piece_by_piece_as_it_is_at_once(tmp_path: Path, channels: int) -> None:
    known = small(0, channels=channels)
    entries = [
        ImageEntry(known.categories[label], part, f'{name} "é" \\ \u2028')
        for label, part, name in zip(known.labels.tolist(), known.parts.tolist(), known.names, strict=True)
    ]
    made = ImageDataset.create(tmp_path / "file", entries, lambda place: known.images[place].numpy(), side=8)
    assert (tmp_path / "file").read_bytes() == made.dumps()
    assert ImageDataset.load(tmp_path / "file").dumps() == made.dumps()
    assert made.preprocessing == Preprocessing.of(known.images[known.parts == 0])
    data, start = made.to_data(), made.images.data_ptr()
    for split in (data.test(), data.validation, data.training):
        assert split.images.data_ptr() == start, "no copy: the parts lie side by side"
        start += split.images.nbytes
    assert torch.equal(data.training.images, known.to_data().training.images)


def test_a_change_of_an_image_in_memory_does_not_reach_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(small(0).dumps())
    dataset = ImageDataset.load(path)
    dataset.images[0] = 0
    assert ImageDataset.load(path).dumps() == small(0).dumps()


def test_names_that_no_file_can_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_safetensors, "MAX_HEADER", 1000)
    known = small(0)
    entries = [ImageEntry("a" if place % 2 else "b", place % 3, f"{place}" * 9) for place in range(30)]
    with pytest.raises(UsageError, match=r"metadata of 1,\d+ bytes, at most 1,000; take shorter file names"):
        ImageDataset.create(tmp_path / "file", entries, lambda place: known.images[place].numpy(), side=8)


def test_the_file_has_what_others_rely_on(home: Path) -> None:
    write(small(0), b"path\n")
    tensors, facts = checked_safetensors.load(home / "noise/dataset.safetensors", "dataset")
    assert {name: str(each.dtype) for name, each in tensors.items()} == {
        "images": "torch.uint8",
        "labels": "torch.int64",
        "parts": "torch.uint8",
    }
    assert list(facts) == ["labels", "names", "mean", "deviation", "balance", "preparation"]
    assert (len(facts["mean"]), len(facts["deviation"]), facts["preparation"]) == (3, 3, "plain")
    assert facts["balance"] == dict.fromkeys(facts["labels"], 10)
    checked = subprocess.run(["sha256sum", "--check", "../noise.sha256"], cwd=home / "noise", capture_output=True)
    assert checked.returncode == 0


def test_the_version_changes_with_pixels_labels_parts_and_their_names_and_not_with_the_files_names() -> None:
    made = small(0)
    turned = made.images.clone()
    turned[0, 0, 0, 0] ^= 1
    changed = [
        made,
        replace(made, images=turned),
        replace(made, labels=made.labels.flip(0)),
        replace(made, parts=made.parts.flip(0)),
        replace(made, categories=("other", *made.categories[1:])),
    ]
    versions = [each.to_data().version for each in changed]
    assert len(set(versions)) == len(changed)
    assert replace(made, names=made.names[::-1]).to_data().version == versions[0]


def test_more_than_256_categories_are_told_apart_by_the_version() -> None:
    made = small(0, count=600, categories=300)
    wrapped = replace(made, labels=made.labels % 256)
    assert made.to_data().version != wrapped.to_data().version


class Killed(Exception):  # noqa: N818 - what the process would be
    """Where a kill would have ended the process."""


@pytest.mark.parametrize("step", range(1, 18))
def test_a_kill_at_any_step_leaves_the_old_set_or_the_new_one(
    home: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = small(0), small(1)
    write(old, b"old\n")
    count = 0

    def counted(real: Any) -> Any:
        def call(*words: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == step:
                raise Killed
            return real(*words, **named)

        return call

    with monkeypatch.context() as patched:
        for holder, name in ((Path, "replace"), (Path, "rename"), (Path, "rmdir"), (os, "fsync")):
            patched.setattr(holder, name, counted(getattr(holder, name)))
        patched.setattr(shutil, "rmtree", lambda *_, **__: None)
        try:
            write(new, b"new\n")
        except Killed:
            pass
        else:
            pytest.fail(f"only {count} steps")
    assert not fetch.fetch_dataset("noise"), "nothing to bring"
    got = image_dataset.read("noise").dumps()
    assert got in {old.dumps(), new.dumps()}
    said = b"old\n" if got == old.dumps() else b"new\n"
    assert (home / "noise/report.csv").read_bytes() == said
    listed = (home / "noise.sha256").read_text()
    assert hashlib.sha256(got).hexdigest() in listed
    assert hashlib.sha256(said).hexdigest() in listed
    write(new, b"new\n")
    assert image_dataset.read("noise").dumps() == new.dumps()
    assert sorted(path.name for path in home.iterdir()) == ["noise", "noise.sha256"]


def test_a_first_import_that_was_killed_when_it_was_valid_is_finished_by_who_comes_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_name: str, _home: Path) -> None:
        if (home / ".noise.new").is_dir():
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(dataset_files, "_finish", killed)
        with pytest.raises(Killed):
            write(small(0))
    assert image_dataset.load("noise").version == small(0).to_data().version


def test_a_changed_bit_is_refused_with_expected_and_got(home: Path) -> None:
    write(small(0))
    path = home / "noise" / image_dataset.FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"dataset\.safetensors: expected sha256 \w{64}, got \w{64}, which no version has"
    ):
        image_dataset.load("noise")


def test_a_set_of_which_git_has_another_version_is_refused(home: Path) -> None:
    write(small(0))
    listing = (home / "noise.sha256").read_bytes()
    write(small(1))
    (home / "noise.sha256").write_bytes(listing)
    with pytest.raises(UsageError, match=r"which no version has; mv .*; or, to make a version of it, make data-add"):
        image_dataset.load("noise")


def test_a_set_whose_bytes_are_elsewhere_says_how_to_get_them(home: Path) -> None:
    home.mkdir()
    (home / "noise.sha256").write_text(f"{'0' * 64}  dataset.safetensors\n")
    with pytest.raises(RequirementError, match=r"data/noise: this version is not in the cache .* give DATA_REMOTE="):
        image_dataset.load("noise")


@pytest.mark.parametrize("name", ["nowhere", "../data", ".", "Noise"])
def test_what_is_no_data_set_is_refused_by_name(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"data {name}: no set of that name; there are .*; "):
        image_dataset.load(name)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": torch.zeros(29, dtype=torch.int64)},
        {"labels": torch.full((30,), 3)},
        {"labels": torch.full((30,), -1)},
        {"parts": torch.zeros(30, dtype=torch.uint8)},
        {"parts": torch.zeros(30, dtype=torch.int64)},
        {"images": torch.zeros(30, 3, 8, 9, dtype=torch.uint8)},
        {"images": torch.zeros(30, 2, 8, 8, dtype=torch.uint8)},
        {"images": torch.zeros(30, 1, 8, 8, dtype=torch.uint8)},
        {"images": torch.zeros(0, 3, 8, 8, dtype=torch.uint8)},
        {"images": torch.zeros(30, 192, dtype=torch.uint8)},
        {"parts": torch.full((30,), 9, dtype=torch.uint8)},
        {"names": ["one"]},
        {"mean": [0.5], "deviation": [0.5]},
        {"mean": [0.5] * 3, "deviation": [0.5, 0.0, 0.5]},
        {"preparation": "garment"},
        {"labels": 3.5},
        {"labels": "abc"},
        {"labels": [1, 2, 3]},
        {"labels": ["a", "b", "b"]},
        {"labels": ["a", "b", "\x1b[2J"]},
        {"labels": ["a", "b", "\u202ec"]},
        {"labels": ["a", "b", ""]},
        {"labels": ["a", "b", "c" * 101]},
        {"labels": torch.full((30,), 2**62)},
        {"names": dict.fromkeys(map(str, range(30)))},
        {"mean": [0.5, 0.5, float("nan")]},
        {"mean": [0.5, 0.5, float("inf")]},
        {"mean": [0.5, 0.5, 10**400]},
        {"mean": [0.5, 0.5, 1e308]},
        {"mean": [0.5, 0.5, -0.1]},
        {"mean": [0.5, 0.5, "x"]},
        {"mean": [0.5, 0.5, None]},
        {"deviation": [0.5, 0.5, -0.5]},
        {"deviation": [0.5, 0.5, 1e-300]},
        {"deviation": [0.5, 0.5, float("nan")]},
        {"deviation": "0.5"},
        {"preparation": None},
    ],
)
def test_a_file_that_is_whole_and_impossible_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = tmp_path / "dataset.safetensors"
    path.write_bytes(small(0).dumps())
    tensors, facts = checked_safetensors.load(path, "dataset")
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else facts)[name] = value
    path.write_bytes(checked_safetensors.dumps("dataset", tensors, facts))
    with pytest.raises(UsageError, match=r"dataset\.safetensors: not a data set of this code"):
        ImageDataset.load(path)


def test_what_a_killed_import_has_left_goes_with_the_next_one(home: Path) -> None:
    for name in ("noise", "other"):
        (home / f".{name}.import").mkdir(parents=True)
        (home / f".{name}.import/pixels").write_bytes(b"pixels")
    with dataset_files.scratch("noise") as scratch:
        assert [path.name for path in home.iterdir()] == [".noise.import"]
        assert [path.name for path in scratch.iterdir()] == [".lock"]
    assert not list(home.iterdir())


def test_where_nobody_knows_of_locks_the_folder_is_empty_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".noise.import").mkdir(parents=True)
    (home / ".noise.import/pixels").write_bytes(b"pixels")
    monkeypatch.setattr(file_lock, "is_locked", lambda _: None)
    with dataset_files.scratch("noise") as scratch:
        assert [path.name for path in scratch.iterdir()] == [".lock"]


def test_a_second_import_of_a_name_is_refused_and_takes_nothing_from_the_first(home: Path) -> None:
    with dataset_files.scratch("noise") as scratch:
        (scratch / "pixels").write_bytes(b"pixels")
        with pytest.raises(UsageError, match=r"\.noise\.import: in progress in another process; wait for it"):
            dataset_files.scratch("noise").__enter__()
        with dataset_files.scratch("other"):
            pass
        assert (scratch / "pixels").read_bytes() == b"pixels"


def test_of_a_large_file_each_image_is_read_by_its_place(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small(0)
    entries = [
        ImageEntry(made.categories[label], part, name)
        for label, part, name in zip(made.labels.tolist(), made.parts.tolist(), made.names, strict=True)
    ]
    with dataset_files.scratch("noise") as scratch:
        ImageDataset.create(scratch / "file", entries, lambda place: made.images[place].numpy(), side=8)
        dataset_files.write("noise", {image_dataset.FILE: scratch / "file", image_dataset.REPORT: b""})
    mapped = image_dataset.load("noise")
    monkeypatch.setattr(image_dataset, "LARGE", 1)
    read = image_dataset.load("noise")
    assert mapped.version == read.version
    for one, other in zip(
        (mapped.training, mapped.validation, mapped.test()), (read.training, read.validation, read.test()), strict=True
    ):
        assert other.reader
        indices = torch.randperm(len(one), generator=torch.manual_seed(0))
        for split in (other, other.to(torch.device("cpu"))):
            for name, tensor in one.get_batch(indices).items():
                assert torch.equal(split.get_batch(indices)[name], tensor)
    path = home / "noise" / image_dataset.FILE
    os.truncate(path, path.stat().st_size - 400)
    with pytest.raises(UsageError, match=r"dataset\.safetensors: has been cut while it was read"):
        read.training.get_batch(torch.arange(len(read.training)))


def test_a_full_disk_under_an_import_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device") as full, dataset_files.scratch("shoes", home=tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")  # as a write does, which names no file
    assert full.value.filename == str(tmp_path / ".shoes.import")
