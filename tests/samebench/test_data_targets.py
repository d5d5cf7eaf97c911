"""The day's verbs for data, typed by two who share a remote."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from samebench.core.paths import ROOT
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.team_checkouts import GIT, NAME, Member, with_dvc
from tests.samebench.test_data_merge import meet
from tests.samebench.test_merge_images import branch, commit, photos

from .stored import pixels, sealed_set

__all__ = ["photos", "with_dvc"]  # fixtures

LABELS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.fixture
def checkout(tmp_path: Path, with_dvc: Path) -> Path:
    """A checkout in git, with a small sealed file for data and this one's DVC."""
    path = copy_checkout(tmp_path / "my work")
    (path / ".dvc").mkdir(exist_ok=True)
    shutil.copy(ROOT / ".dvc/config", path / ".dvc/config")
    (path / ".samebench").mkdir()
    place = with_dvc.parents[1]
    (path / ".samebench" / place.name).symlink_to(place)
    write(path, LABELS)
    (tmp_path / "remote").mkdir()
    git(path, "init", "--quiet", "--initial-branch", "main")
    return path


def write(checkout: Path, labels: list[int]) -> None:
    folder = checkout / "data/blots"
    folder.mkdir(exist_ok=True)
    for name, content in sealed_set(pixels(0, 10), labels).items():
        (folder / name).write_bytes(content)


def git(checkout: Path, *words: str) -> None:
    assert run(["git", *words], cwd=checkout, variables=GIT).returncode == 0


def make(checkout: Path, *words: str, code: int = 0) -> str:
    """What it says, to the user and for machines; make turns every code of ours into its own 2."""
    variables = {"SAMEBENCH": "1", "PYTHONPATH": "src", "DATA_REMOTE": str(checkout.parent / "remote"), **GIT}
    done = run(["make", "--silent", *words], cwd=checkout, variables=variables)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_the_days_verbs(checkout: Path) -> None:
    said = make(checkout, "data-add")
    assert "git add data/blots.sha256 data/blots.dvc && git commit" in said
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "data")
    assert not (checkout / ".dvc/cache").parent.joinpath(".gitignore").exists()
    assert run(["git", "status", "--porcelain"], cwd=checkout, variables=GIT).stdout == ""
    assert make(checkout, "data-push") == (f"data/blots: on {checkout.parent}/remote, 1 version, 2 objects\n")
    write(checkout, [9, *LABELS[1:]])
    refused = make(checkout, "data", code=2).splitlines()[0]
    assert refused.startswith(f"error: {checkout}/data/blots/dataset.safetensors: expected sha256")
    told = json.loads(make(checkout, "data-diff", "A=HEAD", "JSON=1"))
    assert told["sets"]["blots"]["all"]["relabelled_to"] == 1
    for name in ("data/blots", ".dvc/cache"):
        shutil.rmtree(checkout / name)
    assert make(checkout, "data", "DATASET=blots").endswith("brought, 1 files, all hashes right\n")
    assert make(checkout, "data").endswith("already there, 1 files, all hashes right\n")


def test_every_set_comes_and_one_that_is_nowhere_keeps_none_of_the_others(checkout: Path) -> None:
    git(checkout, "commit", "--quiet", "--message", "nothing yet", "--allow-empty")
    (checkout / "data/boots").mkdir()
    for name, content in sealed_set(pixels(1, 10), LABELS).items():
        (checkout / "data/boots" / name).write_bytes(content)
    for name in ("boots", "blots"):
        make(checkout, "data-add", f"DATASET={name}")
    make(checkout, "data-push", "DATASET=blots")
    told = json.loads(make(checkout, "data-diff", "A=HEAD", "JSON=1"))
    assert {name: known["all"]["added"] for name, known in told["sets"].items()} == {"boots": 10, "blots": 10}
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", "data")
    lines = make(checkout, "data-diff", "A=HEAD").splitlines()
    assert lines[::2] == [f"data/{name}: the same 10 examples in HEAD and what is there now" for name in told["sets"]]
    both = json.loads(make(checkout, "data-diff", "A=HEAD~1", "B=HEAD", "JSON=1"))["sets"]
    assert {name: known["all"]["added"] for name, known in both.items()} == {"boots": 10, "blots": 10}
    git(checkout, "rm", "--quiet", "data/boots.sha256", "data/boots.dvc")
    assert json.loads(make(checkout, "data-diff", "A=HEAD", "JSON=1"))["sets"]["boots"]["all"]["removed"] == 10
    git(checkout, "reset", "--quiet", "--hard")
    for name in ("data/boots", "data/blots", ".dvc/cache"):
        shutil.rmtree(checkout / name)
    for verb in ("add", "push"):
        assert "no set is there to" in make(checkout, f"data-{verb}", code=2)
    assert "no set is there to compare" in make(checkout, "data-diff", "A=HEAD", code=2)
    said = make(checkout, "data", code=2)
    assert said.startswith("error: data/boots: this version is not in the cache")
    assert len(list((checkout / "data/blots").iterdir())) == 1
    assert make(checkout, "data-diff", "A=HEAD").startswith("data/blots: "), "what is there"


def test_a_set_that_is_not_there_is_refused_in_one_line(checkout: Path) -> None:
    assert make(checkout, "data", "DATASET=boots", code=2).splitlines()[0] == (
        "error: data/boots.sha256: not there; known are blots"
    )
    assert make(checkout, "data-diff", code=2).startswith("error: A=: give a revision of git")


def test_make_refuses_to_add_during_a_conflict_and_make_data_merge_gives_the_union(
    checkout: Path, photos: Mapping[str, Path]
) -> None:
    member = Member(checkout)
    shutil.rmtree(checkout / "data/blots")
    commit(member, photos["base"])
    branch(member, "a", photos["a"])
    branch(member, "b", photos["b"])
    meet(member, "merge", "a")
    refused = make(checkout, "data-add", f"DATASET={NAME}", code=2).splitlines()[0]
    assert refused.startswith(f"error: data/{NAME}.sha256: two branches have changed it, ")
    assert refused.endswith(f"; make data-merge DATASET={NAME}")
    said = make(checkout, "data-merge", f"DATASET={NAME}").splitlines()
    assert said[0].startswith(f"data/{NAME}: the union of both branches, 84 examples; ")
    assert said[1] == f"git add data/{NAME}.sha256 data/{NAME}.dvc && git commit && make data-push DATASET={NAME}"
    assert make(checkout, "data-add", f"DATASET={NAME}", code=2), "until git knows"
    commands = said[1].replace("git commit", "git commit --no-edit")
    environment = (
        os.environ | GIT | {"SAMEBENCH": "1", "PYTHONPATH": "src", "DATA_REMOTE": str(checkout.parent / "remote")}
    )
    done = subprocess.run(["sh", "-c", commands], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ", 4 versions, 9 objects\n" in done.stdout
    assert "no merge is in progress" in make(checkout, "data-merge", f"DATASET={NAME}", code=2)
    assert "DATASET=: give the name" in make(checkout, "data-merge", code=2)
