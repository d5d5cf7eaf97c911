"""The three ways in which a data set grows (docs/data.md), by two members of a team and a real remote."""

from pathlib import Path

import pytest
import torch

from samebench.data import diff
from tests.samebench.team_checkouts import NAME, Member, init_checkout, remote, with_dvc
from tests.samebench.test_data_diff import counts

from .stored import pixels, sealed_set
from .test_image_diff import form

__all__ = ["form", "remote", "with_dvc"]  # fixtures

LABELS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
EACH = pytest.mark.parametrize("remote", ["a directory", "over SSH"], indirect=True)


@pytest.fixture
def pair(tmp_path: Path, with_dvc: Path, remote: Path) -> tuple[Member, Member]:
    """Who changes the data, and a teammate who starts from the first version."""
    return init_checkout(tmp_path / "who changes it"), Member(tmp_path / "a teammate")


def start(pair: tuple[Member, Member], files: dict[str, bytes]) -> None:
    changer, teammate = pair
    changer.record(files)
    changer.push()
    changer.clone(teammate.root)
    teammate.bring()
    assert teammate.contents() == files


def go_on(pair: tuple[Member, Member], files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The changed files become a version, the teammate pulls and brings it, and can go back; what changed, in all."""
    changer, teammate = pair
    before = changer.contents()
    changer.record(files)
    changer.push()
    teammate.git("pull", "--quiet")
    assert teammate.bring()
    assert teammate.contents() == files
    teammate.git("checkout", "--quiet", "HEAD~1")
    assert teammate.bring()
    assert teammate.contents() == before
    monkeypatch.setattr(diff, "ROOT", teammate.root)
    return counts(diff.compare(NAME, "main~1", "main").total)


@EACH
def test_older_images_are_replaced(pair: tuple[Member, Member], form: type, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = pixels(0, 12)
    start(pair, form(pictures, LABELS))
    taken_again = pictures.clone()
    taken_again[2:5] = pixels(1, 3)
    assert go_on(pair, form(taken_again, LABELS), monkeypatch) == {"a": 12, "changed": 3, "b": 12}


@EACH
def test_images_are_added(pair: tuple[Member, Member], form: type, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = pixels(0, 12)
    start(pair, form(pictures, LABELS))
    more = torch.cat([pixels(1, 4), pictures])  # in front: all others lie elsewhere in the file then
    names = [f"new/{number}.png" for number in range(4)] + [f"{number}.png" for number in range(12)]
    files = form(more, [0, 1, 2, 3, *LABELS], **({"names": names} if form is sealed_set else {}))
    assert go_on(pair, files, monkeypatch)["added"] == 4


@EACH
def test_a_batch_that_was_labelled_after_active_learning_is_added(
    pair: tuple[Member, Member], form: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = pixels(0, 12)
    start(pair, form(pictures, LABELS))
    batch, labels = pixels(2, 5), [7, 7, 8, 9, 9]  # what the network was least sure of, labelled by hand
    mended = [*LABELS[:3], 6, *LABELS[4:]]  # and a wrong label that came to light on the way
    files = form(torch.cat([pictures[:10], batch, pictures[10:]]), [*mended[:10], *labels, *mended[10:]])
    changes = go_on(pair, files, monkeypatch)
    assert changes == {"a": 12, "added": 5, "relabelled_to": 1, "relabelled_from": 1, "b": 17}
