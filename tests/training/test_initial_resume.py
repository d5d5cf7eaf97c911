"""A run that started from another model is resumed: when it still needs that model, and that it takes no other."""

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.runs.run import Run
from samebench.training import checkpoint, reproduction, train
from samebench.training.model import Model
from tiny.settings import Settings

from .initial_models import QUICK, dark, first, interrupt, settings, trained

__all__ = ["dark", "first", "settings"]  # fixtures


@pytest.fixture
def moved(first: Run, settings: Settings, tmp_path: Path) -> tuple[Settings, Path]:
    """A run to start from that a test can take away."""
    place = tmp_path / "initial"
    shutil.copytree(first.directory, place)
    return dataclasses.replace(settings, init=str(place)), place


def test_a_run_with_a_checkpoint_needs_its_initial_model_no_more(
    moved: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, place = moved
    undisturbed = trained(settings, tmp_path / "undisturbed")
    for at in (2, 5):
        run = interrupt(settings, tmp_path / f"{at}", monkeypatch, at=at)
        place.rename(tmp_path / "away")
        resumed = train.train(settings, run=Run.open(run.directory))
        assert resumed.receipt["weights_sha256"] == undisturbed["weights_sha256"]
        assert Model.load(resumed.weights).spec["mean"] == undisturbed["init"]["spec"]["mean"]
        (tmp_path / "away").rename(place)


def test_before_its_first_checkpoint_it_does_and_says_so(
    moved: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, place = moved
    undisturbed = trained(settings, tmp_path / "undisturbed")
    run = interrupt(settings, tmp_path / "runs", monkeypatch, at=1)
    shutil.rmtree(run.checkpoints)
    before = (run.directory / "receipt.json").read_bytes()
    place.rename(tmp_path / "away")
    weights = undisturbed["init"]["weights_sha256"][:12]
    wanted = f"wanted is the model of weights {weights}, from anywhere: INIT=<path>"
    with pytest.raises(UsageError, match=re.escape(f"{place}: not there; take another, or train first; {wanted}")):
        train.train(settings, run=Run.open(run.directory))
    place.mkdir()
    with pytest.raises(UsageError, match=re.escape(wanted)):
        train.train(settings, run=Run.open(run.directory))
    place.rmdir()
    shutil.copytree(tmp_path / "undisturbed" / undisturbed["run"], place)
    changed = rf"init.weights_sha256: {weights} then, {undisturbed['weights_sha256'][:12]} now; {wanted}"
    with pytest.raises(UsageError, match=changed):
        train.train(settings, run=Run.open(run.directory))
    assert (run.directory / "receipt.json").read_bytes() == before
    elsewhere = dataclasses.replace(settings, init=str(tmp_path / "away"))
    resumed = train.train(elsewhere, run=Run.open(run.directory))
    assert resumed.receipt["weights_sha256"] == undisturbed["weights_sha256"]


@pytest.mark.parametrize("at", [1, 4])
def test_it_does_not_go_on_from_another_model_than_it_began_with(
    at: int, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = trained(settings, tmp_path)
    run = interrupt(settings, tmp_path, monkeypatch, at=at)
    asked = dataclasses.replace(settings, init=str(tmp_path / other["run"]))
    with pytest.raises(UsageError, match=r"init.weights_sha256: \w{12} then, \w{12} now; leave it as it was"):
        train.train(asked, run=run)
    with pytest.raises(UsageError, match=r"init.weights_sha256: \w{12} then, nothing now; leave them as they were"):
        train.train(dataclasses.replace(settings, init=""), run=run)


def test_a_run_of_the_code_before_this_setting_resumes_and_is_reproduced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, data="dark")
    then = trained(settings, tmp_path)
    run = interrupt(settings, tmp_path, monkeypatch, at=4)
    told = {**run.receipt, "settings": without_init(run.receipt["settings"])}
    (run.directory / "receipt.json").write_text(json.dumps(told))
    for path in run.checkpoints.glob("*.safetensors"):
        tensors, facts = checked_safetensors.load(path, "checkpoint")
        facts = without_init(facts) | {"settings": without_init(facts["settings"])}
        path.write_bytes(checked_safetensors.dumps("checkpoint", tensors, facts))
    old = Run.open(run.directory)
    assert checkpoint.load_newest(old)
    assert train.train(old.read_settings(), run=old).receipt["weights_sha256"] == then["weights_sha256"]
    verdict = reproduction.verdict({**then, "settings": without_init(then["settings"])}, then)
    assert verdict == (0, f"identical: weights {then['weights_sha256']}")


def without_init(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if name != "init"}
