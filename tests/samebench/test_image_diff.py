"""Sets of images: each image is known, and its changes are counted by category."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from samebench import project
from samebench.core.command import UsageError
from samebench.data import checked_safetensors, diff
from samebench.data.diff import Change, Example
from tests.samebench.stored import pixels, sealed_set
from tests.samebench.team_checkouts import NAME, init_checkout, with_dvc
from tests.samebench.test_data_diff import counts
from tiny.data import LABELS

__all__ = ["with_dvc"]  # fixtures


@pytest.fixture
def form() -> type:
    """What makes the files of a set of these pictures; a project's tests have their own."""
    return sealed_set  # type: ignore[return-value]


@pytest.fixture
def labels() -> Sequence[str]:
    """The names of the categories."""
    return LABELS


def examples(folder: Path) -> list[Example]:
    """The images in `folder`, as make data-diff reads them."""
    reader = project.task().example_reader({path.name for path in folder.iterdir()})
    assert reader
    return reader(folder)


def test_a_set_tells_of_every_image(tmp_path: Path, form: type, labels: Sequence[str]) -> None:
    for name, content in form(pixels(0, 6), [0, 1, 2, 3, 4, 5]).items():
        (tmp_path / name).write_bytes(content)
    found = examples(tmp_path)
    assert [one.label for one in found] == list(labels[:6])
    assert [one.part for one in found[1:]] == ["training"] * 3 + ["test"] * 2
    assert found[0].part == ("validation" if form is sealed_set else "training")
    assert len({one.content for one in found}) == 6


def test_a_sealed_set_that_lacks_what_it_must_have_is_refused(tmp_path: Path) -> None:
    tensors = {"images": pixels(0, 2), "labels": torch.tensor([0, 1]), "parts": torch.tensor([0, 9], dtype=torch.uint8)}
    (tmp_path / "dataset.safetensors").write_bytes(
        checked_safetensors.dumps("dataset", tensors, {"labels": ["bag", "boot"]})
    )
    with pytest.raises(UsageError, match=r"dataset\.safetensors: not a data set of this code"):
        examples(tmp_path)


def test_two_revisions_and_what_is_in_data_are_compared(
    form: type,
    labels: Sequence[str],
    tmp_path: Path,
    with_dvc: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    member = init_checkout(tmp_path / "checkout")
    monkeypatch.setattr(diff, "ROOT", member.root)
    pictures = pixels(0, 9)
    member.record(form(pictures[:8], [0, 0, 1, 1, 2, 2, 3, 3]))
    member.record(form(pictures, [0, 0, 1, 2, 2, 2, 3, 3, 3], test=3))

    def told(*words: str) -> dict[str, dict[str, int]]:
        diff.main([*words, "--dataset", NAME, "--json"])
        said = json.loads(capsys.readouterr().out)
        (known,) = said["sets"].values()
        return {label: counts(Change(**row)) for label, row in [*known["categories"].items(), ("all", known["all"])]}

    there = told("HEAD~1", "HEAD")
    assert there["all"] == {"a": 8, "added": 1, "relabelled_to": 1, "relabelled_from": 1, "b": 9}
    assert there[labels[1]] == {"a": 2, "relabelled_from": 1, "b": 1}
    assert told("HEAD~1") == there, "what is in data/ is that of HEAD"
    assert told("HEAD", "HEAD~1")["all"]["removed"] == 1
    member.write(form(pictures[:8], [0, 0, 1, 1, 2, 2, 3, 3]))
    assert set(told("HEAD~1")["all"]) == {"a", "b"}, "what is in data/, recorded or not"
    diff.main(["HEAD~1", "HEAD", "--dataset", NAME])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == f"data/{NAME}: A is HEAD~1, B is HEAD"
    assert rows[-1].split() == ["all", "8", "1", "0", "0", "1", "1", "0", "9"]
    assert not list((member.root / ".dvc/tmp").glob("dvc-*"))
