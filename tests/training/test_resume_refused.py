"""A run goes on with what it began with: other settings, data, code or device are refused by name."""

import dataclasses
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.runs import receipt
from samebench.runs.run import Run
from samebench.training import checkpoint, train
from tiny import data

from .interrupts import KNOWN, QUICK, interrupt, tiny, undisturbed

__all__ = ["tiny", "undisturbed"]  # fixtures


def test_a_run_on_the_gpu_does_not_resume_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    facts = {name: run.receipt[name] for name in ("settings", "data_version")}
    kept = dataclasses.replace(checkpoint.load_newest(run) or pytest.fail("none"), device="cuda")
    with pytest.raises(UsageError, match="device: cuda then, cpu now; leave it as it was, or start a new run"):
        train.check_resume_compatible(run, kept, {**facts, "device": "cpu"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.1}, "settings.lr: 0.25 then, 0.1 now; leave it as it was, or start a new run"),
        ({"seed": 1}, "settings.seed: 0 then, 1 now"),
        ({"shards": 4}, "settings.shards: 2 then, 4 now"),
        ({"fast": True}, "settings.fast: False then, True now"),
        ({"epochs": 1}, None),
    ],
)
def test_settings_that_contradict_the_checkpoint_are_refused_by_name(
    change: dict[str, float], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    before = (run.directory / "receipt.json").read_bytes()
    settings = dataclasses.replace(QUICK, **change)  # type: ignore[arg-type]
    if said is None:
        assert train.train(settings, run=run).receipt["settings"]["epochs"] == 1
        return
    with pytest.raises(UsageError, match=said):
        train.train(settings, run=run)
    assert (run.directory / "receipt.json").read_bytes() == before


def test_all_settings_that_contradict_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    said = "settings.lr: 0.25 then, 0.1 now; settings.seed: 0 then, 1 now; leave them as they were, or start a new run"
    with pytest.raises(UsageError, match=said):
        train.train(dataclasses.replace(QUICK, lr=0.1, seed=1), run=run)


def test_other_data_is_refused_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    monkeypatch.setattr(data, "load", lambda _: data.synthetic(1, training=144, test=40))
    with pytest.raises(UsageError, match=rf"data_version: {KNOWN.version[:12]} then, \w{{12}} now"):
        train.train(QUICK, run=run)


def test_the_same_data_from_another_place_is_taken(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    again = train.train(dataclasses.replace(QUICK, data="moved"), run=run)
    assert again.receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]


def test_a_run_that_is_done_goes_on_only_with_more_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train.train(QUICK, runs=tmp_path)
    with pytest.raises(
        UsageError, match='done, all 2 epochs; give more, such as ARGS="--epochs 4", or start a new run'
    ):
        train.train(QUICK, run=run)
    with pytest.raises(UsageError, match="epochs=1 is impossible, 2 are done; give 2 or more"):
        train.train(dataclasses.replace(QUICK, epochs=1), run=run)
    interrupt(tmp_path, monkeypatch, at=4)
    (left,) = {path.parent for path in tmp_path.glob("*/receipt.json")} - {run.directory}
    with pytest.raises(UsageError, match=f'ARGS="--epochs 4", or finish the one that .*: make train RESUME={left}'):
        train.train(QUICK, run=run)
    longer = train.train(dataclasses.replace(QUICK, epochs=3), run=run)
    assert len(longer.receipt["history"]) == longer.receipt["settings"]["epochs"] == 3
    assert longer.receipt["resumed"][0]["changed"] == ["settings.epochs: 2 then, 3 now"]


def test_what_was_not_committed_when_it_went_on_is_kept_beside_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=1)
    monkeypatch.setattr(receipt, "uncommitted", lambda: b"a diff")
    run = interrupt(tmp_path, monkeypatch, at=2, run=run)
    assert not (run.directory / "uncommitted-1.diff").exists()  # no source has changed since
    run.record(code=run.receipt["code"] | {"source": {}})
    run = train.train(QUICK, run=run)
    assert (run.directory / "uncommitted-2.diff").read_bytes() == b"a diff"
    assert run.receipt["resumed"][1]["commit"] == receipt.code()["commit"]


def test_a_checkpoint_of_other_code_is_refused_and_the_receipt_left_as_it_was(tmp_path: Path) -> None:
    run = train.train(QUICK, runs=tmp_path)
    kept = checkpoint.load_newest(run)
    assert kept
    checkpoint.save(run, dataclasses.replace(kept, tensors={}, step=kept.step + 1))
    before = (run.directory / "receipt.json").read_bytes()
    with pytest.raises(UsageError, match="a checkpoint of other code"):
        train.train(dataclasses.replace(QUICK, epochs=3), run=run)
    assert (run.directory / "receipt.json").read_bytes() == before
    run.acquire(patience=0)
    run.release()
