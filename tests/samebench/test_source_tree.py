"""What lies beside the code is an input, and what git does not have of it can be applied elsewhere."""

import json
import os
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.runs import receipt, source_tree
from tests.commands import call
from tests.samebench.checkout import copy_checkout
from tests.samebench.test_git import damage_index, git


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout with everything committed, whose receipts are made, and a user without settings."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    tree = tmp_path / "a tree"
    for name in ("src/project/train.py", "src/project/vocabulary.json", "data/shoes.sha256", "src/project/naïve.txt"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("".join(f"line {number}\n" for number in range(20)))
    commit(tree)
    monkeypatch.setattr(receipt, "ROOT", tree)
    return tree


def commit(tree: Path) -> None:
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")


@pytest.mark.parametrize("name", ["vocabulary.json", "page.html", "query.sql", "table.csv", "LICENSE", "deep/er/a.txt"])
def test_a_file_of_any_kind_beside_the_code_is_an_input(name: str, tree: Path) -> None:
    before = {"code": receipt.code()}
    path = tree / "src/project" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed\n")
    (line,) = receipt.diff(before, {"code": receipt.code()})
    assert line.startswith(f"code.source.src/project/{name}: ")
    assert f"src/project/{name}".encode() in receipt.uncommitted()


@pytest.mark.parametrize(
    "name", ["__pycache__/a.txt", "a.pyc", ".hidden/a.csv", ".a.py.swp", "a.py~", "#a.py#", "x.egg-info/PKG", "a.ipynb"]
)
def test_caches_backups_and_notebooks_beside_the_code_are_no_input(name: str, tree: Path) -> None:
    before = receipt.code()
    (tree / "src/project" / name).parent.mkdir(exist_ok=True)
    (tree / "src/project" / name).write_text("changed\n")
    assert receipt.code() == before
    assert receipt.uncommitted() == b""


def test_what_a_link_leads_to_is_an_input_and_no_link_leads_astray(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "shared/inner").mkdir(parents=True)
    (tmp_path / "shared/inner/words.txt").write_text("a")
    (tree / "src/words.txt").symlink_to(tmp_path / "shared/inner/words.txt")
    (tree / "src/shared").symlink_to(tmp_path / "shared")
    (tree / "src/project/back").symlink_to(tree / "src")
    (tree / "src/nothing.txt").symlink_to("not-there")
    os.mkfifo(tree / "src/pipe")
    before = receipt.sources()
    assert {"src/words.txt", "src/shared/inner/words.txt"} <= before.keys()
    assert not any("back" in name or "nothing" in name or "pipe" in name for name in before)
    (tmp_path / "shared/inner/words.txt").write_text("b")
    after = receipt.sources()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"src/words.txt", "src/shared/inner/words.txt"}
    assert b"src/words.txt" in receipt.uncommitted()
    assert receipt.notices() == ["src/project/back: not in uncommitted.diff", "src/shared: not in uncommitted.diff"]


def test_a_source_that_can_not_be_read_is_refused_in_one_line(tree: Path) -> None:
    (tree / "src/loop.csv").symlink_to("loop.csv")
    with pytest.raises(
        UsageError, match=r"src/loop\.csv: can't be read \(Too many levels of symbolic links\).*; make it"
    ):
        receipt.sources()


def test_a_name_that_is_no_utf_8_is_an_input_like_any(tree: Path) -> None:
    path = os.fsencode(tree) + b"/src/project/bad\xff.csv"
    try:
        Path(os.fsdecode(path)).write_text("1\n")
    except OSError:
        pytest.skip("this file system takes no such name")
    assert receipt.sources()["src/project/bad\\xff.csv"]
    json.dumps(receipt.code()).encode()
    assert receipt.code()["dirty"] is True
    assert rb"bad\377.csv" in receipt.uncommitted()


def test_a_large_file_beside_the_code_is_an_input_and_told_in_a_line(tree: Path) -> None:
    with (tree / "src/project/weights.bin").open("wb") as file:
        file.truncate(source_tree.LARGE + 1)
    assert "src/project/weights.bin" in receipt.sources()
    assert receipt.uncommitted() == b""
    assert receipt.code()["dirty"] is True
    size = f"{source_tree.LARGE + 1:,} bytes"
    said = f"src/project/weights.bin: {size}, read at each start and not in uncommitted.diff; move it to data/"
    assert receipt.notices() == [said]


def edit(tree: Path) -> None:
    """Changes of each kind that a patch can hold."""
    project = tree / "src/project"
    lines = (project / "train.py").read_text().splitlines(keepends=True)
    (project / "train.py").write_text("".join(["new\n", *lines[:9], "other  \n", *lines[12:], "\n", " \n"]))
    (project / "vocabulary.json").rename(project / "words.json")
    (project / "naïve.txt").write_text("no end of line")
    (project / "table.csv").write_bytes(b"a,b\r\n1,2\r\n")
    (project / "pixels.bin").write_bytes(bytes(range(256)) * 3)
    (project / "empty").write_text("")
    (project / "ü b\tc.txt").write_text("1\n")
    (project / "link").symlink_to("train.py")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    (tree / "data/boots.sha256").write_text("b\n")


def contents(tree: Path) -> dict[str, tuple[bool, bytes]]:
    paths = (path for path in tree.rglob("*") if ".git" not in path.parts and not path.is_dir())
    return {str(path.relative_to(tree)): (os.access(path, os.X_OK), path.read_bytes()) for path in paths}


SETTINGS = [
    {},
    {"diff.noprefix": "true"},
    {"diff.mnemonicPrefix": "true", "diff.algorithm": "patience", "diff.context": "0"},
    {"color.diff": "always", "color.ui": "always", "diff.colorMoved": "zebra", "core.quotePath": "false"},
    {"diff.external": "echo", "diff.text.command": "echo"},
    {"diff.text.textconv": "wc", "diff.text.binary": "true"},
    {"diff.relative": "true", "diff.renames": "copies", "diff.orderFile": "/not/there"},
    {"diff.suppressBlankEmpty": "true", "diff.interHunkContext": "9", "diff.wsErrorHighlight": "all"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: "-".join(settings) or "none")
def test_the_patch_gives_the_same_tree_whatever_the_users_git_is_set_to(
    settings: dict[str, str], tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(tree)
    (tree / ".git/info/attributes").write_text("*.txt diff=text\n*.py diff=text\n")
    for name, value in settings.items():
        git(tree, "config", name, value)
    if "diff.external" in settings:
        monkeypatch.setenv("GIT_EXTERNAL_DIFF", "echo")
    (tmp_path / "patch").write_bytes(receipt.uncommitted())
    git(tmp_path, "clone", "--quiet", str(tree), "clone")
    git(tmp_path / "clone", "apply", "--whitespace=nowarn", str(tmp_path / "patch"))
    assert contents(tmp_path / "clone") == contents(tree)


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_change_that_git_is_told_to_overlook_is_in_the_patch_and_makes_the_tree_dirty(
    flag: str, tree: Path, tmp_path: Path
) -> None:
    names = ["src/project/train.py", "src/project/naïve.txt", "src/project/vocabulary.json"]
    git(tree, "update-index", flag, *names[1:])
    assert receipt.code()["dirty"] is False
    (tree / names[0]).write_text("staged\n")
    git(tree, "add", names[0])
    git(tree, "update-index", flag, names[0])
    (tree / names[2]).chmod(0o755)
    assert receipt.code()["dirty"] is True
    for name in names[:2]:
        (tree / name).write_text("changed\n")
    (tmp_path / "patch").write_bytes(receipt.uncommitted())
    git(tmp_path, "clone", "--quiet", str(tree), "clone")
    git(tmp_path / "clone", "apply", "--whitespace=nowarn", str(tmp_path / "patch"))
    assert contents(tmp_path / "clone") == contents(tree)


def test_the_patch_of_a_checkout_inside_of_a_repository_applies_to_the_repository(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    (whole / "teams").mkdir(parents=True)
    (tree / ".git").rename(tmp_path / "away")
    inner = tree.rename(whole / "teams/shoe s")
    commit(whole)
    edit(inner)
    monkeypatch.setattr(receipt, "ROOT", inner)
    (tmp_path / "patch").write_bytes(receipt.uncommitted())
    git(tmp_path, "clone", "--quiet", str(whole), "clone")
    git(tmp_path / "clone", "apply", "--whitespace=nowarn", str(tmp_path / "patch"))
    assert contents(tmp_path / "clone") == contents(whole)


def test_a_submodule_is_in_the_patch_by_its_commit_and_its_own_changes_make_the_tree_dirty(tree: Path) -> None:
    inner = tree / "src/inner"
    inner.mkdir()
    (inner / "a.py").write_text("1\n")
    commit(inner)
    git(tree, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "./src/inner", "src/inner")
    git(tree, "config", "diff.submodule", "log")
    git(tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "inner")
    assert receipt.code()["dirty"] is False
    (inner / "a.py").write_text("2\n")
    assert receipt.code()["dirty"] is True
    commit(inner)
    assert b"+Subproject commit " in receipt.uncommitted()


def test_a_new_repository_beside_the_code_is_hashed_and_told_in_a_line(tree: Path) -> None:
    (tree / "src/vendored").mkdir()
    (tree / "src/vendored/a.py").write_text("1\n")
    commit(tree / "src/vendored")
    assert "src/vendored/a.py" in receipt.sources()
    assert receipt.code()["dirty"] is True
    assert receipt.notices() == ["src/vendored/: not in uncommitted.diff"]


def test_a_failure_of_git_claims_nothing_and_is_told_in_a_line(tree: Path) -> None:
    head = git(tree, "rev-parse", "HEAD").strip()
    damage_index(tree)
    told = receipt.code()
    assert (told["commit"], told["dirty"]) == (head, None)
    assert receipt.uncommitted() == b""
    (line,) = receipt.notices()
    assert line.startswith(f"{tree}: git ls-files failed (fatal: ")
    assert "index file smaller than expected); git status there says more; until then receipts" in line


def test_before_the_first_commit_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet")
    monkeypatch.setattr(receipt, "ROOT", tmp_path)
    assert receipt.code() == {"commit": None, "dirty": None, "source": {}}
    assert (receipt.uncommitted(), receipt.notices()) == (b"", [])


def test_a_training_says_that_git_failed_and_goes_on(tmp_path: Path) -> None:
    tree = copy_checkout(tmp_path / "tree")
    (tree / ".git").write_text("gitdir: /not/there/.git/worktrees/tree\n")
    words = ("-m", "samebench.training", "--data", "synthetic", "--network", "linear", "--epochs", "1")
    done = call(*words, at=tree, changes={"PYTHONPATH": str(tree / "src")})
    assert done.returncode == 0
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{tree}: git rev-parse failed (fatal: not a git repository: /not/there/")
    (path,) = tree.glob("runs/*/receipt.json")
    assert json.loads(path.read_text())["code"]["dirty"] is None
