import dataclasses
import gzip
import hashlib
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch

from apparel import data, sources
from samebench.core.command import RequirementError, UsageError
from samebench.data import debian_package, download, fetch, source
from samebench.data.source import Source
from samebench.tasks.image_classification.image_data import Data, validation_mask
from samebench.training.sample_random import order
from tests.commands import call

NAMES = (
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
)


def idx(shape: tuple[int, ...], content: bytes) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in shape)
    return (0x0800 + len(shape)).to_bytes(4, "big") + sizes + content


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small files in the real format, and a listing of their hashes in place of the real one."""
    folder = tmp_path / "small data"
    folder.mkdir()
    for name in NAMES:
        count = 24 if name.startswith("train") else 8
        shape = (count, 28, 28) if "images" in name else (count,)
        size = count * 784 if "images" in name else count
        (folder / name).write_bytes(idx(shape, bytes(place % 10 for place in range(size))))
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in NAMES]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/fashion-mnist.sha256").write_text("".join(lines))
    monkeypatch.setattr(source, "LISTINGS", tmp_path / "data")
    monkeypatch.setattr(sources, "PUBLISHED", {line[:64] for line in lines})
    monkeypatch.setattr(data, "HOME", tmp_path / "data/fashion-mnist")
    return folder


def test_four_files_become_whole_tensors(small: Path) -> None:
    known = data.load(str(small))
    assert known.test().images.shape == (8, 1, 28, 28)
    assert known.test().images.dtype == torch.uint8
    assert known.test().labels.tolist() == list(range(8))
    assert len(known.training) + len(known.validation) == 24


def test_files_packed_as_upstream_ships_them_give_the_same_data(small: Path) -> None:
    version = data.load(str(small)).version
    for path in list(small.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert data.load(str(small)).version == version


def test_a_flipped_bit_is_refused_with_expected_and_got(small: Path) -> None:
    path = small / NAMES[2]
    content = bytearray(path.read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[500] ^= 1
    path.write_bytes(content)
    got = hashlib.sha256(content).hexdigest()
    with pytest.raises(UsageError, match=f"{NAMES[2]}: expected sha256 {expected}, got {got}"):
        data.load(str(small))
    assert path.read_bytes() == content


def test_a_truncated_packed_file_is_refused_by_name(small: Path) -> None:
    whole = small / NAMES[0]
    packed = whole.with_name(f"{whole.name}.gz")
    packed.write_bytes(gzip.compress(whole.read_bytes())[:-20])
    whole.unlink()
    with pytest.raises(UsageError, match=f"{NAMES[0]}.gz: damaged"):
        data.load(str(small))


def test_of_a_file_that_is_larger_than_the_set_has_any_no_more_is_read(small: Path) -> None:
    (small / NAMES[0]).unlink()
    (small / f"{NAMES[0]}.gz").write_bytes(gzip.compress(bytes(60_000_000)))
    with pytest.raises(UsageError, match="got more than 47,040,016 bytes"):
        data.load(str(small))


def test_a_packed_file_of_more_than_is_allowed_is_not_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(5_000_000)
    (tmp_path / "file.gz").write_bytes(gzip.compress(content))
    asked = (Source("set", tmp_path), "file", hashlib.sha256(content).hexdigest())
    assert Source.matches_sha256(*asked)
    monkeypatch.setattr(source, "MAX_BYTES", 1_000_000)
    assert not Source.matches_sha256(*asked)


def test_a_missing_file_is_refused_by_name(small: Path) -> None:
    (small / NAMES[1]).unlink()
    with pytest.raises(UsageError, match=f"{NAMES[1]}: not there"):
        data.load(str(small))


def test_a_file_that_the_listing_does_not_have_is_named(small: Path, tmp_path: Path) -> None:
    listing = tmp_path / "data/fashion-mnist.sha256"
    listing.write_text(listing.read_text().partition("\n")[2])
    with pytest.raises(UsageError, match=f"fashion-mnist.sha256: it lists no {NAMES[0]}; "):
        data.load(str(small))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "magic number 0x00000000"),
        (b"\x1f\x8b\x08\x00" + bytes(20), "magic number 0x1f8b0800"),
        (b"\x00\x00\x08\x03\x00\x00", "too short for its header"),
        (idx((2, 28, 28), bytes(2 * 784 - 1)), "1583 bytes, expected 1584"),
        (idx((2, 28, 28), bytes(2 * 784 + 1)), "1585 bytes, expected 1584"),
        (idx((3,), bytes(2)), "10 bytes, expected 11"),
        (idx((2, 32, 32), bytes(2 * 1024)), "images of 32x32, expected 28x28"),
    ],
)
def test_what_is_not_a_whole_idx_file_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        data.read_idx(content)


def test_the_validation_images_are_a_twelfth_of_each_category_and_no_longer_in_training() -> None:
    labels = order(60000, seed=5, epoch=0, purpose="test") % 10
    chosen = validation_mask(labels)
    assert torch.bincount(labels[chosen]).tolist() == [500] * 10


def test_every_image_is_in_training_or_in_validation_and_none_in_both() -> None:
    known = data.synthetic(0, training=240, test=10)
    images = torch.cat([known.training.images, known.validation.images]).flatten(1).tolist()
    assert len(images) == len({tuple(image) for image in images}) == 240


def test_the_data_version_is_that_of_the_content() -> None:
    versions = {data.synthetic(seed, training=24, test=10).version for seed in (0, 0, 1)}
    assert len(versions) == 2


def test_changing_the_data_changes_the_version() -> None:
    known = data.synthetic(0, training=24, test=10)
    swapped = dataclasses.replace(known.test(), labels=known.test().labels.flip(0))
    of = partial(Data, labels=known.labels, preparation=known.preparation)
    assert of(known.training, swapped).version != of(known.training, known.test()).version


def test_the_default_set_is_fetched_by_whoever_loads_it(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream"
    upstream.mkdir()
    for name in NAMES:
        (upstream / f"{name}.gz").write_bytes(gzip.compress((small / name).read_bytes()))
    monkeypatch.setattr(sources, "AUTHORS", upstream.as_uri())
    assert data.load("fashion-mnist").version == data.load(str(small)).version
    assert sorted(path.name for path in data.HOME.iterdir()) == list(NAMES)


class Offline:
    """A network on which no source answers; counts who asks."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, path: Path, *, sha256: str, sources: list[str], max_bytes: int) -> bool:
        if sources[0].startswith("file:"):
            return real_fetch(path, sha256=sha256, sources=sources, max_bytes=max_bytes)
        self.asked += 1
        raise download.UnreachableError("no network")


real_fetch = download.fetch


def test_without_upstream_the_debian_package_gives_the_files_and_a_second_call_asks_nobody(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def extract(package: str, *, into: Path) -> Path:
        assert package == "dataset-fashion-mnist"
        for name in NAMES:
            (into / f"{name}.gz").write_bytes(gzip.compress((small / name).read_bytes()))
        return into

    offline = Offline()
    monkeypatch.setattr(download, "fetch", offline)
    monkeypatch.setattr(debian_package, "extract", extract)
    assert fetch.fetch_dataset("fashion-mnist") is True
    assert sorted(path.name for path in data.HOME.iterdir()) == list(NAMES)
    assert data.load(str(data.HOME)).version == data.load(str(small)).version
    assert fetch.fetch_dataset("fashion-mnist") is False
    assert offline.asked == 1


def test_a_tampered_file_at_home_is_refused_and_not_overwritten(small: Path) -> None:
    shutil.copytree(small, data.HOME)
    (data.HOME / NAMES[3]).write_bytes(b"mine")
    with pytest.raises(UsageError, match=f"{NAMES[3]}: expected sha256 .*, got .*no version has; mv .*; or, to"):
        fetch.fetch_dataset("fashion-mnist")
    assert (data.HOME / NAMES[3]).read_bytes() == b"mine"


def test_nobody_is_asked_for_a_version_that_was_never_published(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offline = Offline()
    monkeypatch.setattr(download, "fetch", offline)
    monkeypatch.setattr(sources, "PUBLISHED", set())
    with pytest.raises(RequirementError, match=r"not in the cache .*, and no remote is set; give DATA_REMOTE="):
        fetch.fetch_dataset("fashion-mnist")
    assert offline.asked == 0


def test_what_is_no_data_set_and_no_directory_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"^data \.\./nowhere: no set of that name; there are fashion-mnist, syn"):
        data.load("../nowhere")


def test_a_directory_that_lacks_the_files_is_refused_in_one_line_and_not_written_to(tmp_path: Path) -> None:
    done = call("-m", "samebench.data.fetch", str(tmp_path), at=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("not there; give the directory with all files of fashion-mnist\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
