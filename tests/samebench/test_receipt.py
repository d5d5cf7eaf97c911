import json
import subprocess
from pathlib import Path

import pytest
import torch

from samebench import project
from samebench.core import flags
from samebench.core.command import UsageError
from samebench.runs import receipt
from tests.samebench.checkout import copy_checkout


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with everything committed, whose receipts are made."""
    tree = copy_checkout(tmp_path / "tree")
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")
    monkeypatch.setattr(receipt, "ROOT", tree)
    return tree


def git(tree: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True, text=True).stdout


def test_the_commit_and_a_clean_tree_are_told(tree: Path) -> None:
    told = receipt.code()
    assert told["commit"] == git(tree, "rev-parse", "HEAD").strip()
    assert told["dirty"] is False
    assert receipt.uncommitted() == b""


def test_what_was_not_committed_can_be_applied_elsewhere(tree: Path, tmp_path: Path) -> None:
    (tree / "src/samebench/runs/run.py").write_text("changed = 1\n")
    (tree / "src/tiny/added.py").write_text("added = 1\n")
    assert receipt.code()["dirty"] is True
    (tmp_path / "diff").write_bytes(receipt.uncommitted())
    git(tmp_path, "clone", "--quiet", str(tree), "clone")
    git(tmp_path / "clone", "apply", str(tmp_path / "diff"))
    for name in ("src/samebench/runs/run.py", "src/tiny/added.py"):
        assert (tmp_path / "clone" / name).read_text() == (tree / name).read_text()


def test_what_decides_nothing_makes_no_tree_dirty_and_is_not_kept(tree: Path) -> None:
    (tree / "notes.txt").write_text("mine")
    (tree / "src/tiny/tried.ipynb").write_text("{}")
    assert receipt.code()["dirty"] is False
    assert receipt.uncommitted() == b""


@pytest.mark.parametrize("name", ["src/tiny/added.py", "Makefile", "data/shoes.sha256", "data/shoes.dvc"])
def test_a_dirty_tree_is_one_of_which_something_is_kept(name: str, tree: Path) -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text("")
    assert receipt.code()["dirty"] is True
    assert name.encode() in receipt.uncommitted()


def test_a_changed_notebook_is_no_changed_input(tree: Path) -> None:
    next((tree / "notebooks").glob("*.ipynb")).write_text("{}")
    assert receipt.code()["dirty"] is False


def test_without_git_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", "")
    assert receipt.code() == {"commit": None, "dirty": None, "source": {}}
    assert receipt.uncommitted() == b""


def test_the_inputs_of_two_moments_are_the_same(tree: Path) -> None:
    before, after = receipt.inputs(), receipt.inputs()
    assert receipt.diff(before, after, fields=[*receipt.COMPARED, *receipt.MACHINE]) == []


def test_a_changed_source_and_a_changed_lock_are_named_and_nothing_else(tree: Path) -> None:
    before = receipt.inputs()
    lock = "docker/gpu.lock" if torch.version.cuda else "docker/cpu.lock"
    for name in ("src/samebench/runs/run.py", lock):
        (tree / name).write_text("")
    lines = receipt.diff(before, receipt.inputs())
    assert [line.split(":")[0] for line in lines] == ["code.source.src/samebench/runs/run.py", f"locks.{lock}"]
    assert all(line.endswith("e3b0c44298fc now") for line in lines)  # SHA-256 of nothing


def test_an_added_and_a_removed_fact_are_named_with_both_values() -> None:
    then, now = {"settings": {"old": 1, "same": 2}}, {"settings": {"same": 2, "new": [True]}}
    assert receipt.diff(then, now) == [
        "settings.new: nothing then, [True] now",
        "settings.old: 1 then, nothing now",
    ]


def test_what_is_not_compared_is_not_named() -> None:
    assert receipt.diff({"threads": 1, "settingsx": 1}, {"threads": 2, "settingsx": 2}) == []
    assert receipt.diff({"settings": {"a": 1}}, {"settings": {"a": 2}}, exclude=["settings.a"]) == []


def test_a_setting_that_an_older_receipt_lacks_had_its_default() -> None:
    now = {"settings": flags.defaults(project.settings_class())}
    then = {"settings": {name: value for name, value in now["settings"].items() if name != "optimizer"}}
    assert receipt.diff(then, now) == []
    now["settings"]["optimizer"] = "adamw"
    assert receipt.diff(then, now) == ["settings.optimizer: sgd then, adamw now"]
    assert receipt.diff({**then, "project": "other"}, now) == ["settings.optimizer: nothing then, adamw now"]


def test_no_machine_is_named(tree: Path) -> None:
    host = Path("/etc/hostname")
    name = host.read_text().strip() if host.is_file() else ""
    if not name:
        pytest.skip("this machine has no name")
    assert name not in json.dumps(receipt.inputs())


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_a_file_that_is_no_receipt_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(UsageError, match=r"receipt\.json: not"):
        receipt.read(tmp_path / "receipt.json")


def test_a_receipt_that_lacks_something_is_refused_by_its_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"r\.json: not a whole receipt, at \$: 'run' is a required property"):
        receipt.check({}, Path("r.json"))


@pytest.mark.parametrize(
    ("fact", "problem"),
    [
        ({"test_accuracy": 2.0}, r"receipt.test_accuracy is 2.0, which is impossible"),
        ({"locks": 7}, r"receipt.locks is 7, not object"),
        ({"locks": {"a": 7}}, r"receipt.locks.a is 7, not string"),
        ({"state": "\x1b[2J"}, r"receipt.state is \"\\u001b\[2J\", not one of running"),
        ({"history": [{"seconds": True}]}, r"receipt.history.0.seconds is true, not number"),
        ({"settings": dict.fromkeys(map(str, range(1001)))}, r"receipt.settings has 1,001 entries, at most 1,000"),
    ],
)
def test_a_receipt_with_a_value_that_can_not_be_is_refused(
    fact: dict[str, object], problem: str, tmp_path: Path
) -> None:
    (tmp_path / "receipt.json").write_text(json.dumps(fact))
    with pytest.raises(UsageError, match=problem):
        receipt.read(tmp_path / "receipt.json")


@pytest.mark.parametrize(
    "content",
    ['{"a": 1, "a": 2}', '{"a": 1e999}', '{"a": Infinity}', f'{{"a": {"9" * 20}}}', f'{{"a": {"[" * 40}{"]" * 40}}}'],
)
def test_json_that_readers_understand_in_two_ways_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text(content)
    with pytest.raises(UsageError, match=r"receipt.json: (not JSON|nested more than 32 deep)"):
        receipt.read(tmp_path / "receipt.json")
