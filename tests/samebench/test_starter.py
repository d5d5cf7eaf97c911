"""`make new-notebook`: numbered, named, refused in one line."""

import json
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.workspace import new_notebook, notebook_outputs

from .checkout import ROOT, copy_checkout, run


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with notebook 07."""
    (tmp_path / "07-seven.ipynb").touch()
    return tmp_path


def test_new_notebook_gets_the_number_after_the_highest_and_its_title(home: Path) -> None:
    path = new_notebook.create_notebook("compare-shoes", home=home)
    assert path == home / "08-compare-shoes.ipynb"
    assert json.loads(path.read_text())["cells"][0]["source"][0] == "# Compare shoes\n"


def test_first_notebook_is_number_one(home: Path) -> None:
    (home / "07-seven.ipynb").unlink()
    assert new_notebook.create_notebook("a", home=home).name == "01-a.ipynb"


def test_new_notebook_has_no_outputs(home: Path) -> None:
    content = new_notebook.create_notebook("compare-shoes", home=home).read_bytes()
    assert notebook_outputs.clean(content) == content


@pytest.mark.parametrize("name", ["", "Shoes", "a b", "../a", "a_b", "-a", "a--b", "é"])
def test_name_that_is_no_file_name_everywhere_is_refused(home: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^NAME=.*: give lower-case words joined by hyphens"):
        new_notebook.create_notebook(name, home=home)
    assert len(list(home.iterdir())) == 1


def test_name_that_is_taken_is_refused_under_any_number(home: Path) -> None:
    with pytest.raises(UsageError, match=r"NAME=seven: 07-seven\.ipynb is there"):
        new_notebook.create_notebook("seven", home=home)


@pytest.mark.parametrize("word", ["", "NAME=Bad Name"])
def test_wrong_use_gets_one_line_and_code_2(tmp_path: Path, word: str) -> None:
    tree = copy_checkout(tmp_path / "tree")
    done = run(["make", "new-notebook", *([word] if word else [])], cwd=tree, variables={"SAMEBENCH": "1"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: NAME=")
    assert len(done.stderr.splitlines()) == 2, "ours, and make's own"


def test_template_is_no_notebook_of_the_row() -> None:
    assert not (ROOT / "notebooks" / new_notebook.TEMPLATE).name[0].isdigit()
