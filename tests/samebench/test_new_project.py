"""`make new-project`: names that can be packages, and nothing half-made. What it makes is tested in tests/families."""

import shutil
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.tasks import new_project


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout without a project."""
    for name in ("src", "tests", "notebooks"):
        (tmp_path / name).mkdir()
    return tmp_path


def files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "name", ["", "Prices", "1a", "a-b", "a b", "../a", "a.b", "_a", "a_", "a__b", "é", "class", "samebench", "a\n"]
)
def test_name_that_can_be_no_package_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a package; give lower-case words"):
        new_project.create_project(name, "table", root=root)
    assert not files(root)


@pytest.mark.parametrize("name", ["torch", "json", "tiny"])
def test_name_of_an_installed_package_is_refused(root: Path, name: str) -> None:
    with pytest.raises(UsageError, match=f"NAME={name}: a package of that name is installed"):
        new_project.create_project(name, "text", root=root)
    assert not files(root)


@pytest.mark.parametrize("taken", ["src/prices", "tests/prices", "notebooks/03-prices.ipynb"])
def test_what_is_there_stays(root: Path, taken: str) -> None:
    (root / taken).mkdir()
    with pytest.raises(UsageError, match=r"NAME=prices: (\S+/prices|03-prices.ipynb) is there"):
        new_project.create_project("prices", "images", root=root)
    assert not files(root)


def test_kind_that_does_not_exist_is_refused(root: Path) -> None:
    with pytest.raises(UsageError, match="KIND=sound: give one of images, table, text"):
        new_project.create_project("prices", "sound", root=root)


def test_failure_half_way_leaves_no_project(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Path, target: Path, **_: object) -> None:
        Path(target).mkdir()
        raise OSError

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(OSError, match=r"^$"):
        new_project.create_project("prices", "table", root=root)
    assert not list((root / "src").iterdir())
    assert not list((root / "tests").iterdir())
