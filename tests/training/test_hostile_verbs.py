"""Receipts, weights, curves and pictures that a stranger wrote, in the verbs that list, note, prune, sweep and draw."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from samebench.core import flags
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import checked_safetensors
from samebench.runs import flow_steps, list_runs, notes, prune, records, sweep
from samebench.runs.flow_steps import MISSING, STALE, Step
from samebench.serving import export
from samebench.training import curves, evaluate
from samebench.training.initial_models import InitialModel
from samebench.training.model import Model
from tiny.settings import Settings

from .test_hostile import ESCAPE, LEAST, VALUES, check, evil, here, made, outside

__all__ = ["evil", "here", "made"]  # fixtures


def note(words: list[str]) -> None:
    notes.main(words)


def show_runs(_words: list[str]) -> None:
    for more in ([], ["--json"], ["--sort", "test_accuracy"], ["--sort=-lr"], ["--filter", "epochs>=1,state!=done"]):
        list_runs.main([*more])


def choose_to_prune(words: list[str]) -> None:
    found = records.find()
    for keep in ("best", "last", "1", Path(words[1]).name):
        try:
            prune.select_to_keep(found, keep)
        except UsageError as refusal:
            print(printable(refusal))
    print(prune.listing(found, [prune.size(record.directory) for record in found]))
    prune.explain_damaged(found)


def plan_sweep(_words: list[str]) -> None:
    asked = sweep.Args(grid="lr=0.1,0.2 epochs=1")
    found = records.find()
    points = sweep.plan(asked, ["--data", "synthetic", "--network", "linear"], found)
    print(list_runs.lines([*found, *sweep.runs_of_points(points, [], found)], flags.defaults(Settings), first=["lr"]))


def draw_steps(words: list[str]) -> None:
    record = records.read(Path(words[1]))
    why = f"{record.damage} {record.settings} {record.receipt}"[:5000]
    steps = [Step("data", MISSING, why, why), Step("training run", STALE, why, f"make train {why}", ("data",))]
    flow_steps.show(steps, as_json=False, to=Path(words[1]) / "flow.md")


VERBS: dict[str, Callable[[list[str]], Any]] = {
    "note": note,
    "runs": show_runs,
    "prune": choose_to_prune,
    "sweep": plan_sweep,
    "picture": draw_steps,
}


@pytest.fixture(autouse=True)
def thought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTE", "a thought")


def test_no_receipt_of_a_stranger_disturbs_what_lists_notes_prunes_sweeps_or_draws(
    evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(evil, VERBS, capsys, step=9) > 25


@pytest.mark.soak
def test_nor_does_any_of_all_of_them(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(evil, VERBS, capsys) > 200


def test_a_run_with_a_strangers_receipt_is_deleted_alone(evil: Path) -> None:
    receipt = json.loads((evil / "receipt.json").read_bytes())
    for init in ("../../20261126-120000-good", ESCAPE, "/", "."):
        (evil / "receipt.json").write_text(json.dumps(receipt | {"run": init, "init": {"run": init}}))
        kept = shutil.copytree(evil, evil.parents[1] / "kept")
        before = outside(evil)
        assert prune.main(["--yes", "--delete", evil.name]) == 0
        assert not evil.exists()
        assert outside(evil) == before
        kept.rename(evil)


# ---- weights ----

FACTS = ("network", "labels", "mean", "deviation", "side", "channels", "preparation", "kind", "more")
MORE: dict[str, Any] = {
    "huge": 10**18,
    "zero": 0,
    "empty": [],
    "empty text": "",
    "twice": ["a", "a"],
    "ten escapes": [f"{ESCAPE}{number}" for number in range(10)],
    "ten lines": [f"{number}\nidentical" for number in range(10)],
    "not a number": float("nan"),
    "infinite": float("inf"),
    "deep": json.loads("[" * 400 + "]" * 400),
}


def foreign_weights(run: Path) -> list[tuple[str, bytes]]:
    """Sealed files of other facts and tensors, each with its name."""
    model = Model.load(run / "model.safetensors")
    facts, tensors = model.to_dict(), dict(model.network.state_dict())
    found = []
    for fact in FACTS:
        for name, value in {**VALUES, **MORE}.items():
            found.append((f"{fact} {name}", checked_safetensors.dumps("model", tensors, {**facts, fact: value})))
        found.append(
            (f"no {fact}", checked_safetensors.dumps("model", tensors, {k: v for k, v in facts.items() if k != fact}))
        )
    first = next(iter(tensors))
    others = {
        "no tensor": {},
        "escapes": {**tensors, ESCAPE: torch.zeros(1)},
        "other type": {**tensors, first: tensors[first].to(torch.int8)},
        "no values": {**tensors, first: torch.zeros(0)},
        "NaN": {name: torch.full_like(tensor, float("nan")) for name, tensor in tensors.items()},
    }
    return [*found, *((name, checked_safetensors.dumps("model", each, facts)) for name, each in others.items())]


def take_weights(evil: Path, verbs: list[str], capsys: pytest.CaptureFixture[str], *, step: int) -> int:
    receipt = json.loads((evil / "receipt.json").read_bytes())
    before, failures = outside(evil), []
    contents = foreign_weights(evil)[::step]
    for name, content in contents:
        (evil / "model.safetensors").write_bytes(content)
        for verb in verbs:
            said = ""
            told = dict(receipt)
            try:
                try:  # the receipt of a stranger fits to the weights
                    model = Model.load(evil / "model.safetensors")
                    told |= {"weights_sha256": model.digest(), "model": model.to_dict()}
                except UsageError:
                    pass
                (evil / "receipt.json").write_text(json.dumps(told))
                WEIGHTS[verb](evil)
            except UsageError as refusal:
                said = printable(refusal)
            except Exception as error:  # noqa: BLE001 - each is told, with what led to it
                failures.append(f"{verb} of {name}: {error!r}")
            shown = capsys.readouterr()
            text = f"{shown.out}{shown.err}{said}".replace("\n", "").replace("\t", "")
            if not text.isprintable():
                failures.append(f"{verb} of {name}: {text!r}")
    (evil / "receipt.json").write_text(json.dumps(receipt))
    assert not failures, "\n".join(each[:300] for each in failures)
    assert outside(evil) == before
    return len(contents)


WEIGHTS: dict[str, Callable[[Path], Any]] = {
    "INIT=run": lambda run: InitialModel.load(str(run)).to_dict(),
    "INIT=file": lambda run: InitialModel.load(str(run / "model.safetensors")).to_dict(),
    "evaluate": lambda run: evaluate.main(["--run", str(run)]),
    "export": lambda run: export.main([*LEAST, "--run", str(run)]),
}


def test_no_metadata_of_a_strangers_weights_ends_in_a_traceback_or_steers_the_terminal(
    evil: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert take_weights(evil, ["INIT=run", "INIT=file"], capsys, step=2) > 80


@pytest.mark.soak
def test_nor_does_any_when_it_is_evaluated_or_exported(evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert take_weights(evil, list(WEIGHTS), capsys, step=1) > 160


# ---- curves ----


def events(path: Path, values: list[Summary.Value]) -> None:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for step in (1, 2, -1, 2**62):
            writer.write(Event(wall_time=1.0, step=step, summary=Summary(value=values)).SerializeToString())


@pytest.mark.parametrize(
    "values",
    [
        [Summary.Value(tag=ESCAPE, simple_value=1.0)],
        [Summary.Value(tag="loss", simple_value=float("nan"))],
        [Summary.Value(tag="confusion_matrix", image=Summary.Image(encoded_image_string=b""))],
        [Summary.Value(tag="confusion_matrix", image=Summary.Image(encoded_image_string=b"short"))],
        [Summary.Value(tag=ESCAPE, image=Summary.Image(encoded_image_string=b"\xff" * 40))],
        [Summary.Value(tag="x", metadata={})],
    ],
    ids=["tag", "NaN", "no picture", "short picture", "no png", "nothing"],
)
def test_curves_of_a_stranger_do_not_keep_a_run_from_going_on(
    values: list[Summary.Value], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("events.out.tfevents.1.1", "events.out.tfevents.2.2"):
        events(tmp_path / name, values)
    figures = [{"validation_loss": 0.5}, {"validation_loss": 0.4}]
    with curves.Curves(tmp_path) as written:
        written.repeat(figures, has_pictures=lambda _: True)
    assert [step for step, _, _ in curves.read(tmp_path)] == [1, 2]
    assert "".join(capsys.readouterr()) == ""


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 100, b"\xff" * 100, b"\x10" + b"\0" * 7 + b"\0" * 4, bytes(range(256))]
)
def test_a_file_of_curves_that_is_none_is_read_as_nothing(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.1").write_bytes(content)
    assert list(curves.read(tmp_path)) == []
