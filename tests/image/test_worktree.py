"""A git worktree and a submodule, whose repository lies out of the checkout, in a container."""

import json
import os
import shutil
from pathlib import Path

import docker
import pytest

from tests.commands import open_to_others
from tests.samebench.checkout import ROOT, run
from tests.samebench.fakes import SCRIPT
from tests.samebench.test_hook import make_clone
from tests.samebench.test_runtime_container import in_git

from .conftest import as_user, give
from .test_devcontainer import Devcontainer, client, close

__all__ = ["client"]  # fixtures

kinds = pytest.mark.parametrize("kind", ["worktree", "submodule"])


def out_of_its_repository(kind: str, folder: Path) -> Path:
    """A checkout in `folder` whose repository lies elsewhere."""
    clone = make_clone(folder / "my work")
    shutil.copytree(ROOT / ".devcontainer", clone / ".devcontainer", ignore=shutil.ignore_patterns("worktree*"))
    in_git("add", ".devcontainer", cwd=clone)
    in_git("commit", "--quiet", "--message", "The devcontainer", cwd=clone)
    if kind == "worktree":
        in_git("worktree", "add", "--quiet", "-b", "other", folder / "a tree", cwd=clone)
        return folder / "a tree"
    in_git("init", "--quiet", "outer", cwd=folder)
    in_git("submodule", "--quiet", "add", clone, "inner", cwd=folder / "outer")
    return folder / "outer/inner"


def assert_has_its_commit(place: Path) -> None:
    """The receipt of the run in there has what git says on the host."""
    (receipt,) = (place / "runs").glob("*/receipt.json")
    code = json.loads(receipt.read_text())["code"]
    trust = ["-c", "safe.directory=*"]
    assert code["commit"] == run(["git", *trust, "rev-parse", "HEAD"], cwd=place).stdout.strip()
    assert code["dirty"] is False


@kinds
def test_a_run_in_a_worktree_or_a_submodule_has_its_commit(image: str, kind: str, tmp_path: Path) -> None:
    place = out_of_its_repository(kind, tmp_path)
    words = ["make", "train", "RUNTIME=docker", "DATA=synthetic", "ARGS=--epochs 1"]
    done = run(words, cwd=place)
    assert done.returncode == 0, done.stderr
    assert_has_its_commit(place)


@pytest.mark.soak
@kinds
def test_a_run_in_its_devcontainer_has_its_commit(
    image: str, kind: str, client: Path, engine: docker.DockerClient, tmp_path: Path
) -> None:
    open_to_others(tmp_path)
    place = out_of_its_repository(kind, tmp_path)
    if os.getuid() != 1000:
        give(tmp_path, uid=1000, gid=1000)
    variables = {"RUNTIME": "docker", "HOME": str(tmp_path)}
    done = run([*as_user(1000), *SCRIPT, "--devcontainer"], cwd=place, variables=variables)
    assert done.returncode == 0, done.stderr
    devcontainer = Devcontainer(client, uid=1000, checkout=place)
    config = ["--config", str(place / ".devcontainer/worktree/devcontainer.json")]
    try:
        up = devcontainer.call("up", *config)
        assert up.returncode == 0, up.stderr[-3000:]
        words = ["make", "train", "ARGS=--data synthetic --epochs 1"]
        train = devcontainer.call("exec", *config, *words)
        assert train.returncode == 0, train.stderr
        assert devcontainer.call("exec", *config, "git", "status", "--short").stdout == ""
    finally:
        close(engine, place)
    assert_has_its_commit(place)
