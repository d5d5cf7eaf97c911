"""Sixty pictures, imported, and what was found of each file."""

import shutil
import tempfile
from pathlib import Path

import pytest

from samebench.tasks.image_classification import image_import
from samebench.tasks.image_classification.image_dataset import ImageDataset
from samebench.tasks.image_classification.image_sources import Finding

from .pictures import drawn, encoded, folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 pictures of three classes."""
    return folder(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture
def copy(pictures: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(pictures, tmp_path / "photos"))


def imported(source: Path, side: int = 28) -> tuple[ImageDataset, list[Finding]]:
    """The set and the findings, as `make data-import` has them before the set comes into data/."""
    with tempfile.TemporaryDirectory() as scratch:
        return image_import.import_images(source, side, Path(scratch))


def findings_by_path(findings: list[Finding]) -> dict[str, str]:
    """What was found of each file."""
    return {each.path: each.found for each in findings if each.path and not each.found.startswith("looks like")}


WHOLE = {kind: encoded(drawn("circle", 999), kind) for kind in ("PNG", "JPEG", "WEBP")}
