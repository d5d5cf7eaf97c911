"""The notebooks: stripped, without definitions, and run top to bottom in a fresh kernel without a warning."""

import ast
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from samebench import project
from samebench.tasks.image_classification import import_images
from samebench.workspace import notebook_outputs
from tests import soak
from tests.samebench.pictures import drawn, folder

HOME = Path(__file__).resolve().parents[2] / "notebooks"
NOTEBOOKS = sorted(HOME.glob("[0-9]*.ipynb"))
FIGURES = {"01-look-at-the-data": 8, "02-train-and-inspect": 4, "03-compare-runs": 4}

TEMPLATE = HOME.parent / "src/samebench/tasks/template/project.ipynb"

PILOT = pytest.mark.project("apparel")  # the notebooks are its own


def named(test: Any) -> Any:
    """For each of the notebooks."""
    return PILOT(pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)(test))


def code(path: Path) -> list[str]:
    """The code cells, without the lines that are IPython's own."""
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return ["".join(line for line in cell["source"] if not line.startswith("%")) for cell in cells]


def execute(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, data: str) -> list[dict[str, Any]]:
    """All outputs of the notebook, run in a kernel of its own on the data set named."""
    monkeypatch.setenv("DATA", data)
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PATH", str(Path(sys.prefix) / "share/jupyter"))
    client = NotebookClient(
        nbformat.read(path, as_version=4),  # type: ignore[no-untyped-call]
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    return [output for cell in client.nb.cells for output in cell.get("outputs", [])]


def assert_shown(path: Path, outputs: list[dict[str, Any]]) -> None:
    said = [output["text"] for output in outputs if output.get("name") == "stderr"]
    assert not said, "a notebook that warns"
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(figures) >= FIGURES.get(path.stem, 1)


@named
def test_notebook_runs_top_to_bottom_in_a_fresh_kernel_without_a_warning(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = HOME.parent / "runs"
    before = sorted(runs.glob("*"))
    assert_shown(path, execute(path, monkeypatch, tmp_path, data="synthetic"))
    # Of the kernel itself: its sockets on loopback are signed and not encrypted.
    said = [line for line in capfd.readouterr().err.splitlines() if "running over TCP without encryption" not in line]
    assert not said
    assert sorted(runs.glob("*")) == before, "a trial is no run"


@pytest.mark.soak
@named
def test_notebook_runs_on_the_real_data_in_under_a_minute(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not (HOME.parent / "data/fashion-mnist").is_dir():
        pytest.skip("data/fashion-mnist is not there: make data")
    begun = time.monotonic()
    assert_shown(path, execute(path, monkeypatch, tmp_path, data="fashion-mnist"))
    took = time.monotonic() - begun
    assert took < 60
    name = path.stem.replace("-", "_")
    soak.record(f"notebook_{name}_runs_on_the_real_data", f"in {took:.0f} s, load {os.getloadavg()[0]:.1f}")


def test_notebook_of_a_new_project_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA", "synthetic")
    monkeypatch.setenv("PROJECT", "")
    variables: dict[str, object] = {}
    for cell in code(TEMPLATE):
        text = cell.replace("PACKAGE", project.name())
        exec(compile(text, "cell", "exec"), variables)  # noqa: S102 - our own; a kernel takes seconds to start
    assert os.environ["PROJECT"] == project.name()
    assert variables["result"]


@pytest.mark.parametrize("count", [3, 30])
@named
def test_notebook_runs_on_small_sets_in_colour(
    path: Path, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    photos = folder(tmp_path / "photos", count)
    shutil.rmtree(photos / "square")
    for number in range(count):
        drawn("square", number).save(photos / f"triangle/more-{number}.png")
    monkeypatch.setattr("samebench.data.source.LISTINGS", tmp_path / "data")
    import_images.main(["--source", str(photos), "--name", "shapes", "--side", "16"])
    monkeypatch.setenv("DATA", "shapes")
    variables: dict[str, object] = {}
    for cell in code(path):
        exec(compile(cell, path.name, "exec"), variables)  # noqa: S102 - our own; a kernel takes seconds to start


@pytest.mark.parametrize("path", [*NOTEBOOKS, TEMPLATE], ids=lambda path: path.name)
def test_notebook_is_as_the_filter_would_leave_it(path: Path) -> None:
    assert notebook_outputs.clean(path.read_bytes()) == path.read_bytes()
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"


@named
def test_notebook_defines_nothing_that_could_be_used_again(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    assert not [node for cell in code(path) for node in ast.walk(ast.parse(cell)) if isinstance(node, kinds)]
    assert any("from apparel import" in cell for cell in code(path))


def test_cells_have_names_for_ids_each_once() -> None:
    for path in NOTEBOOKS:
        ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
        assert len(ids) == len(set(ids))
        assert all(name.replace("-", "").isalpha() for name in ids)


def test_numbers_of_the_notebooks_have_no_gap() -> None:
    assert [int(path.name[:2]) for path in NOTEBOOKS] == list(range(1, len(NOTEBOOKS) + 1))
