"""Data sets of one's own: written whole or not at all, and loaded as they were written."""

import hashlib
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from apparel import data, dataset
from apparel.dataset import Dataset
from samebench.core.command import RequirementError, UsageError
from samebench.data import checked_safetensors
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.preprocessing import Preprocessing


def small(seed: int, *, count: int = 30, channels: int = 3, categories: int = 3) -> Dataset:
    """A set of noise."""
    images = torch.randint(0, 256, (count, channels, 8, 8), generator=torch.manual_seed(seed)).to(torch.uint8)
    return Dataset(
        images=images,
        labels=torch.arange(count) % categories,
        parts=(torch.arange(count) % 5).clamp_max(2).to(torch.uint8),
        categories=tuple(f"label {number:03}" for number in range(categories)),
        names=tuple(f"a/{number}.png" for number in range(count)),
        preparation=ImageTransform(8, channels),
        preprocessing=Preprocessing.of(images),
    )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(dataset, "HOME", tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("channels", [1, 3])
def test_a_set_comes_back_as_it_was_written(home: Path, channels: int) -> None:
    made = small(0, channels=channels)
    dataset.write("noise", made, b"path\n")
    assert dataset.read("noise").pack() == made.pack()
    known = data.load("noise")
    assert known.labels == made.categories
    assert known.preparation == ImageTransform(8, channels)
    assert known.preprocessing == made.preprocessing
    for part, split in enumerate([known.training, known.validation, known.test()]):
        assert torch.equal(split.images, made.images[made.parts == part])
        assert torch.equal(split.labels, made.labels[made.parts == part])


def test_the_file_has_what_others_rely_on(home: Path) -> None:
    dataset.write("noise", small(0), b"path\n")
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
    versions = [data.from_dataset(each).version for each in changed]
    assert len(set(versions)) == len(changed)
    assert data.from_dataset(replace(made, names=made.names[::-1])).version == versions[0]


def test_more_than_256_categories_are_told_apart_by_the_version() -> None:
    made = small(0, count=600, categories=300)
    wrapped = replace(made, labels=made.labels % 256)
    assert data.from_dataset(made).version != data.from_dataset(wrapped).version


class Killed(Exception):  # noqa: N818 - what the process would be
    """Where a kill would have ended the process."""


@pytest.mark.parametrize("step", range(1, 18))
def test_a_kill_at_any_step_leaves_the_old_set_or_the_new_one(
    home: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = small(0), small(1)
    dataset.write("noise", old, b"old\n")
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
            dataset.write("noise", new, b"new\n")
        except Killed:
            pass
        else:
            pytest.fail(f"only {count} steps")
    assert not data.ensure_dataset("noise", root=home.parent), "nothing to bring"
    got = dataset.read("noise").pack()
    assert got in {old.pack(), new.pack()}
    said = b"old\n" if got == old.pack() else b"new\n"
    assert (home / "noise/report.csv").read_bytes() == said
    listed = (home / "noise.sha256").read_text()
    assert hashlib.sha256(got).hexdigest() in listed
    assert hashlib.sha256(said).hexdigest() in listed
    dataset.write("noise", new, b"new\n")
    assert dataset.read("noise").pack() == new.pack()
    assert sorted(path.name for path in home.iterdir()) == ["noise", "noise.sha256"]


def test_a_first_import_that_was_killed_when_it_was_valid_is_finished_by_who_comes_next(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_name: str, _home: Path) -> None:
        if (home / ".noise.new").is_dir():
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(dataset, "_finish", killed)
        with pytest.raises(Killed):
            dataset.write("noise", small(0), b"")
    assert data.load("noise").version == data.from_dataset(small(0)).version


def test_a_changed_bit_is_refused_with_expected_and_got(home: Path) -> None:
    dataset.write("noise", small(0), b"")
    path = home / "noise" / dataset.FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        UsageError, match=r"dataset\.safetensors: expected sha256 \w{64}, got \w{64}, which no version has"
    ):
        data.load("noise")


def test_a_set_of_which_git_has_another_version_is_refused(home: Path) -> None:
    dataset.write("noise", small(0), b"")
    listing = (home / "noise.sha256").read_bytes()
    dataset.write("noise", small(1), b"")
    (home / "noise.sha256").write_bytes(listing)
    with pytest.raises(UsageError, match=r"which no version has; mv .*; or, to make a version of it, make data-add"):
        data.load("noise")


def test_a_set_whose_bytes_are_elsewhere_says_how_to_get_them(home: Path) -> None:
    home.mkdir()
    (home / "noise.sha256").write_text(f"{'0' * 64}  dataset.safetensors\n")
    with pytest.raises(RequirementError, match=r"data/noise: this version is not in the cache .* give DATA_REMOTE="):
        data.load("noise")


@pytest.mark.parametrize("name", ["nowhere", "../data", ".", "Noise"])
def test_what_is_no_data_set_is_refused_by_name(home: Path, name: str) -> None:
    said = "not there; give the directory with the four files" if name == "." else f"data {name}: no set of that name"
    with pytest.raises(UsageError, match=said):
        data.load(name)


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
    path.write_bytes(small(0).pack())
    tensors, facts = checked_safetensors.load(path, "dataset")
    for name, value in changes.items():
        (tensors if isinstance(value, torch.Tensor) else facts)[name] = value
    path.write_bytes(checked_safetensors.dumps("dataset", tensors, facts))
    with pytest.raises(UsageError, match=r"dataset\.safetensors: not a data set of this code"):
        Dataset.load(path)
