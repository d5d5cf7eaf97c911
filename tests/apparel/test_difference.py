"""Both forms of a set of images: each image is known, and its changes are counted by category."""

import json
from pathlib import Path

import pytest
import torch

from apparel import data
from apparel.task import TASK
from samebench.core.command import UsageError
from samebench.data import checked_safetensors, diff
from samebench.data.diff import Change, Example
from tests.apparel.test_data import NAMES, idx
from tests.samebench.team import NAME, found, with_dvc
from tests.samebench.test_data_diff import counts

__all__ = ["with_dvc"]  # fixtures


def examples(folder: Path) -> list[Example]:
    """The images in `folder`, as make data-diff reads them."""
    reader = TASK.example_reader({path.name for path in folder.iterdir()})
    assert reader
    return reader(folder)


def pixels(seed: int, count: int, *, side: int = 28) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=generator)


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


def sealed_set(
    pictures: torch.Tensor, labels: list[int], *, test: int = 2, names: list[str] | None = None
) -> dict[str, bytes]:
    """The same as one sealed file, as an import of one's own pictures writes it."""
    parts = torch.tensor([1] + [0] * (len(labels) - test - 1) + [2] * test, dtype=torch.uint8)
    tensors = {"images": pictures, "labels": torch.tensor(labels), "parts": parts}
    facts = {
        "labels": list(data.LABELS),
        "names": names or [f"{number}.png" for number in range(len(labels))],
        "mean": [0.5],
        "deviation": [0.5],
        "balance": {},
        "preparation": "plain",
    }
    return {"dataset.safetensors": checked_safetensors.dumps("dataset", tensors, facts)}


@pytest.mark.parametrize("form", [idx_set, sealed_set])
def test_each_form_tells_of_every_image(tmp_path: Path, form: type) -> None:
    for name, content in form(pixels(0, 6), [0, 1, 2, 3, 4, 5]).items():
        (tmp_path / name).write_bytes(content)
    found = examples(tmp_path)
    assert [one.label for one in found] == list(data.LABELS[:6])
    assert [one.part for one in found[1:]] == ["training"] * 3 + ["test"] * 2
    assert found[0].part == ("validation" if form is sealed_set else "training")
    assert len({one.content for one in found}) == 6


def test_both_forms_know_an_image_by_the_same_content(tmp_path: Path) -> None:
    contents = []
    for form in (idx_set, sealed_set):
        for name, content in form(pixels(0, 6), [0, 1, 2, 3, 4, 5]).items():
            (tmp_path / form.__name__).mkdir(exist_ok=True)
            (tmp_path / form.__name__ / name).write_bytes(content)
        contents.append([one.content for one in examples(tmp_path / form.__name__)])
    assert contents[0] == contents[1]


def test_a_sealed_set_that_lacks_what_it_must_have_is_refused(tmp_path: Path) -> None:
    tensors = {"images": pixels(0, 2), "labels": torch.tensor([0, 1]), "parts": torch.tensor([0, 9], dtype=torch.uint8)}
    (tmp_path / "dataset.safetensors").write_bytes(
        checked_safetensors.dumps("dataset", tensors, {"labels": ["bag", "boot"]})
    )
    with pytest.raises(UsageError, match=r"dataset\.safetensors: not a data set of this code"):
        examples(tmp_path)


def test_a_folder_that_holds_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"train-images-idx3-ubyte: not there; make data DATASET="):
        data.read_examples(tmp_path)
    for name, content in (idx_set(pixels(0, 4), [0, 1, 2, 3]) | {NAMES[3]: idx((1,), b"\0")}).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="2 images and 1 labels in the part train"):
        examples(tmp_path)


@pytest.mark.parametrize("form", [idx_set, sealed_set])
def test_two_revisions_and_what_is_in_data_are_compared(
    form: type, tmp_path: Path, with_dvc: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    member = found(tmp_path / "checkout")
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
    assert there["Trouser"] == {"a": 2, "relabelled_from": 1, "b": 1}
    assert told("HEAD~1") == there, "what is in data/ is that of HEAD"
    assert told("HEAD", "HEAD~1")["all"]["removed"] == 1
    member.write(form(pictures[:8], [0, 0, 1, 1, 2, 2, 3, 3]))
    assert set(told("HEAD~1")["all"]) == {"a", "b"}, "what is in data/, recorded or not"
    diff.main(["HEAD~1", "HEAD", "--dataset", NAME])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == f"data/{NAME}: A is HEAD~1, B is HEAD"
    assert rows[-1].split() == ["all", "8", "1", "0", "0", "1", "1", "0", "9"]
    assert not list((member.root / ".dvc/tmp").glob("dvc-*"))
