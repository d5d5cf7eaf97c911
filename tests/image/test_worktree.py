"""A git worktree and a submodule, whose repository lies out of the checkout, in a container."""

import json
from pathlib import Path

import pytest

from tests.samebench.checkout import run
from tests.samebench.test_hook import make_clone
from tests.samebench.test_runtime_container import in_git


@pytest.mark.parametrize("kind", ["worktree", "submodule"])
def test_a_run_in_a_worktree_or_a_submodule_has_its_commit(image: str, kind: str, tmp_path: Path) -> None:
    clone = make_clone(tmp_path / "my work")
    if kind == "worktree":
        place = tmp_path / "a tree"
        in_git("worktree", "add", "--quiet", "-b", "other", place, cwd=clone)
    else:
        in_git("init", "--quiet", "outer", cwd=tmp_path)
        in_git("submodule", "--quiet", "add", clone, "inner", cwd=tmp_path / "outer")
        place = tmp_path / "outer/inner"
    words = ["make", "train", "RUNTIME=docker", "DATA=synthetic", "ARGS=--epochs 1 --network linear"]
    done = run(words, cwd=place)
    assert done.returncode == 0, done.stderr
    (receipt,) = (place / "runs").glob("*/receipt.json")
    code = json.loads(receipt.read_text())["code"]
    assert code["commit"] == run(["git", "rev-parse", "HEAD"], cwd=place).stdout.strip()
    assert code["dirty"] is False
