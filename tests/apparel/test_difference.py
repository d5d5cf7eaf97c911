"""The four idx files: what holds for the data sets of the bench holds for them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from apparel import data
from samebench.core.command import UsageError
from tests.apparel.test_data import NAMES, idx
from tests.samebench.stored import pixels, sealed_set
from tests.samebench.team_checkouts import remote, with_dvc
from tests.samebench.test_growing import pair, test_images_are_added
from tests.samebench.test_image_diff import (
    examples,
    test_a_set_tells_of_every_image,
    test_two_revisions_and_what_is_in_data_are_compared,
)

__all__ = [  # fixtures, and tests
    "pair",
    "remote",
    "test_a_set_tells_of_every_image",
    "test_images_are_added",
    "test_two_revisions_and_what_is_in_data_are_compared",
    "with_dvc",
]


@pytest.fixture
def form() -> type:
    return idx_set  # type: ignore[return-value]


@pytest.fixture
def labels() -> Sequence[str]:
    labels: Sequence[str] = data.LABELS
    return labels


def idx_set(pictures: torch.Tensor, labels: list[int], *, test: int = 2) -> dict[str, bytes]:
    """The four files; the last `test` images are the test images."""
    parts = {"train": slice(0, len(labels) - test), "t10k": slice(len(labels) - test, None)}
    files = {}
    for part, which in parts.items():
        chosen = pictures[which]
        files[f"{part}-images-idx3-ubyte"] = idx((len(chosen), 28, 28), chosen.numpy().tobytes())
        files[f"{part}-labels-idx1-ubyte"] = idx((len(chosen),), bytes(labels[which]))
    assert set(files) == set(NAMES)
    return files


def test_both_forms_know_an_image_by_the_same_content(tmp_path: Path) -> None:
    contents = []
    for form in (idx_set, sealed_set):
        for name, content in form(pixels(0, 6), [0, 1, 2, 3, 4, 5]).items():
            (tmp_path / form.__name__).mkdir(exist_ok=True)
            (tmp_path / form.__name__ / name).write_bytes(content)
        contents.append([one.content for one in examples(tmp_path / form.__name__)])
    assert contents[0] == contents[1]


def test_a_folder_that_holds_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte: not there; make data DATASET="):
        data.read_examples(tmp_path)
    for name, content in (idx_set(pixels(0, 4), [0, 1, 2, 3]) | {NAMES[3]: idx((1,), b"\0")}).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="2 images and 1 labels in the part train"):
        examples(tmp_path)
