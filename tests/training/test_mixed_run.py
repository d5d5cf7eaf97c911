"""A run whose parts don't belong together is refused by whatever takes it, before anything is done with it."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from samebench.core import files
from samebench.core.command import UsageError
from samebench.data.source import Source
from samebench.environment import determinism
from samebench.runs import run_files
from samebench.runs.flow_steps import STALE
from samebench.runs.run import Run
from samebench.serving import export, onnx_export
from samebench.serving.artifact import CARD, MODEL, SEAL
from samebench.shipping import flow
from samebench.training import checkpoint, comparison, evaluate, reproduce, train
from samebench.training.model import Model
from tiny.settings import Budgets, Settings

from .models import change_labels

ANY = Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000)
LEAST = ("--min-validation-accuracy", "0", "--max-latency-ms-p99", "10000")
MAINS: dict[str, Callable[[list[str]], int | None]] = {
    "evaluate": evaluate.main,
    "export": export.main,
    "reproduce": reproduce.main,
}
SETTINGS = Settings(data="synthetic", network="linear", epochs=1, batch_size=100, shards=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Two exported runs of different seeds, the older one first."""
    home = tmp_path_factory.mktemp("parts") / "runs"
    made = [train.train(replace(SETTINGS, seed=seed), runs=home) for seed in (0, 1)]
    for place, run in enumerate(made):
        onnx_export.export(run, ANY)
        run.directory = run.directory.rename(home / f"20261126-12000{place}-abcd")
    return made


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that starts itself again would start pytest again."""
    monkeypatch.setattr(determinism, "reexecute", lambda **_: None)


@pytest.fixture
def pair(runs: list[Run], tmp_path: Path) -> tuple[Path, Path]:
    """The folders of a copy of both, in tmp_path/runs."""
    shutil.copytree(runs[0].directory.parent, tmp_path / "runs")
    one, other = (tmp_path / "runs" / run.directory.name for run in runs)
    return one, other


def swap_weights(ours: Path, theirs: Path) -> None:
    shutil.copy(theirs / "model.safetensors", ours)


def refused_weights(ours: Path, theirs: Path) -> str:
    """What is said of the weights of `theirs` in `ours`."""
    then, now = (json.loads((run / "receipt.json").read_bytes())["weights_sha256"] for run in (ours, theirs))
    return f"/model.safetensors: these weights are {now[:12]}, its receipt says {then[:12]}; take the run"


def content(folder: Path) -> dict[str, str]:
    """The hash of each file of it."""
    return {str(path.relative_to(folder)): files.digest(path) for path in folder.rglob("*") if path.is_file()}


# ---- weights ----


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate"],
        ["export", *LEAST],
        ["export", "--if-needed", *LEAST],  # what make serve and make ship begin with
        ["reproduce"],
    ],
    ids=["evaluate", "export", "serve and ship", "reproduce"],
)
def test_the_weights_of_another_run_are_refused_and_nothing_is_written(
    pair: tuple[Path, Path],
    tmp_path: Path,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    swap_weights(*pair)
    before = content(tmp_path)
    with pytest.raises(UsageError, match=refused_weights(*pair)):
        MAINS[words[0]]([*words[1:], "--run", pair[0].name])
    assert capsys.readouterr() == ("", "")
    assert content(tmp_path) == before


def test_a_training_does_not_start_from_the_weights_of_another_run(pair: tuple[Path, Path], tmp_path: Path) -> None:
    swap_weights(*pair)
    for init in (pair[0], pair[0] / "model.safetensors"):
        with pytest.raises(UsageError, match=r"these weights are .*, its receipt says"):
            train.train(replace(SETTINGS, init=str(init)), runs=tmp_path / "more")
    assert not (tmp_path / "more").exists()


def test_runs_with_the_weights_of_another_are_not_tested_against_each_other(
    pair: tuple[Path, Path],
) -> None:
    swap_weights(*pair)
    (tested,) = comparison.compare_on_test([Run.open(folder) for folder in pair])
    assert refused_weights(*pair) in str(tested)
    assert "no test: " in str(tested)


def test_make_flow_shows_a_run_with_the_weights_of_another_as_stale(pair: tuple[Path, Path]) -> None:
    swap_weights(*pair)
    run = flow.FlowRun(pair[0], Run.open(pair[0]).receipt)
    step = flow.training_step(run, Source.of("synthetic"))
    assert step.state == STALE
    assert step.why in refused_weights(*pair)


def test_other_labels_beside_the_right_weights_are_refused(pair: tuple[Path, Path]) -> None:
    run = Run.open(pair[0])
    model = Model.load(run.weights)
    change_labels(model, list(reversed(model.spec["labels"]))).save(run.weights)
    with pytest.raises(UsageError, match=r"spec.labels: \['circle', .* then, \['wave', .* now"):
        Model.of_run(run)


def test_the_digest_of_a_file_is_that_of_its_model(runs: list[Run]) -> None:
    for run in runs:
        assert (
            run_files.weights_digest(run.weights) == run.receipt["weights_sha256"] == Model.load(run.weights).digest()
        )


# ---- what was not committed ----


@pytest.mark.parametrize("verb", ["evaluate", "export", "serve and ship", "reproduce", "compare"])
@pytest.mark.parametrize("name", ["uncommitted.diff", "uncommitted-1.diff"])
def test_a_patch_that_is_not_the_receipts_is_refused(
    pair: tuple[Path, Path], name: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pair[0].parents[1])
    digest = hashlib.sha256(b"a patch").hexdigest()
    receipt = json.loads((pair[0] / "receipt.json").read_bytes()) | {"uncommitted_sha256": digest}
    receipt["resumed"] = [{"at": receipt["ended"], "step": 1, "changed": [], "uncommitted_sha256": digest}]
    (pair[0] / "receipt.json").write_text(json.dumps(receipt))
    for each in ("uncommitted.diff", "uncommitted-1.diff"):
        (pair[0] / each).write_bytes(b"a patch")
    assert not run_files.find_uncommitted_problem(pair[0], receipt)
    (pair[0] / name).write_bytes(b"another patch")
    message = f"{name} is not what its receipt says was not committed"
    if verb == "compare":
        assert message in str(comparison.compare_on_test([Run.open(folder) for folder in pair])[0])
        return
    words = {"export": [*LEAST], "serve and ship": ["--if-needed", *LEAST]}.get(verb, [])
    with pytest.raises(UsageError, match=re.escape(message)):
        MAINS.get(verb, export.main)([*words, "--run", pair[0].name])


def test_a_patch_beside_the_receipt_of_a_clean_checkout_is_refused_and_one_of_an_older_receipt_is_not(
    pair: tuple[Path, Path],
) -> None:
    (pair[0] / "uncommitted.diff").write_bytes(b"planted")
    receipt = json.loads((pair[0] / "receipt.json").read_bytes()) | {"uncommitted_sha256": None}
    assert run_files.find_uncommitted_problem(pair[0], receipt)
    del receipt["uncommitted_sha256"]
    assert not run_files.find_uncommitted_problem(pair[0], receipt)


# ---- checkpoints ----


def test_a_checkpoint_of_other_epochs_than_the_receipt_is_not_resumed(pair: tuple[Path, Path]) -> None:
    run, other = map(Run.open, pair)
    shutil.rmtree(run.checkpoints)
    found = checkpoint.load_newest(other)
    assert found
    checkpoint.save(run, replace(found, settings=run.receipt["settings"]))
    with pytest.raises(UsageError, match="its newest checkpoint has other figures than its receipt"):
        train.train(replace(SETTINGS, epochs=2), run=run)
    assert Run.open(pair[0]).receipt == run.receipt


def test_a_checkpoint_of_other_weights_than_the_receipt_is_not_resumed(pair: tuple[Path, Path]) -> None:
    run, other = map(Run.open, pair)
    found, theirs = checkpoint.load_newest(run), checkpoint.load_newest(other)
    assert found
    assert theirs
    checkpoint.save(run, replace(found, tensors=theirs.tensors))
    with pytest.raises(UsageError, match="of its newest checkpoint these weights are"):
        train.train(replace(SETTINGS, epochs=2), run=run)
    assert Run.open(pair[0]).receipt == run.receipt


# ---- artifact ----


def of_another_run(ours: Path, theirs: Path) -> None:
    shutil.copytree(theirs / "artifact", ours / "artifact", dirs_exist_ok=True)


def of_another_graph(ours: Path, _theirs: Path) -> None:
    """Another graph with the facts of this run and a right seal."""
    model = ours / "artifact" / MODEL
    model.write_bytes(model.read_bytes() + b"\x82\x01\x00")
    (ours / "artifact" / SEAL).write_text(f"{files.digest(model)}  {MODEL}\n")


def without_samples(ours: Path, _theirs: Path) -> None:
    (ours / "artifact/samples.json").unlink()


def card_of_another_run(ours: Path, theirs: Path) -> None:
    shutil.copy(theirs / "artifact" / CARD, ours / "artifact")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (of_another_run, "model.onnx is of other weights"),
        (of_another_graph, "model.onnx is not the one that was exported"),
        (without_samples, "samples.json can't be read"),
        (card_of_another_run, "card.md is of other weights"),
    ],
    ids=["artifact", "graph", "samples", "card"],
)
def test_an_artifact_that_is_not_the_exported_one_is_made_anew_before_it_is_served(
    pair: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path, Path], None],
    problem: str,
) -> None:
    ours, theirs = pair
    monkeypatch.chdir(ours.parents[1])
    before = content(ours)
    change(ours, theirs)
    assert problem == run_files.find_artifact_problem(ours, Run.open(ours).receipt)
    assert export.main(["--if-needed", *LEAST, "--run", ours.name]) == 0
    assert capsys.readouterr().err == f"runs/{ours.name}/artifact: {problem}; it is exported anew\n"
    assert content(ours) == before
    assert export.main(["--if-needed", *LEAST, "--run", ours.name]) == 0
    assert capsys.readouterr() == (f"runs/{ours.name}/artifact: there already\n", "")


def test_the_artifact_of_a_run_without_its_hash_in_the_receipt_is_still_taken(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, _ = pair
    monkeypatch.chdir(ours.parents[1])
    receipt = json.loads((ours / "receipt.json").read_bytes())
    del receipt["artifact_sha256"], receipt["model"]
    (ours / "receipt.json").write_text(json.dumps(receipt))
    (ours / "model.safetensors").unlink()
    assert export.main(["--if-needed", *LEAST, "--run", ours.name]) == 0
    assert capsys.readouterr().out == f"runs/{ours.name}/artifact: there already\n"
