"""Artifacts: what is inside, that it answers as torch does, and what is refused."""

import base64
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch

from samebench.core import files
from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.runs.run import Run
from samebench.serving import export, onnx_export, run_budgets
from samebench.serving.artifact import CARD, FACTS, MODEL, SAMPLES, SEAL, Artifact
from samebench.serving.run_budgets import BudgetExceededError
from samebench.serving.samples import MAX_FILE_BYTES, dump_samples
from samebench.tasks.image_classification import temperature
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.inspection import calibration
from samebench.training.model import Model
from samebench.training.run_evaluation import compute_metrics
from tests.commands import call
from tiny import data
from tiny.settings import Budgets
from tiny.task import TASK

from .conftest import ANY, probabilities


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """The run again, to be changed."""
    shutil.copytree(run.directory, tmp_path / "runs" / run.directory.name)
    return Run.open(tmp_path / "runs" / run.directory.name)


def test_onnxruntime_answers_as_torch_does_and_another_answer_is_refused(run: Run, artifact: Artifact) -> None:
    test, model = data.load("synthetic").test(), Model.load(run.weights)
    logits = model.outputs_of(test) / artifact.facts["figures"]["temperature"]
    assert onnx_export.check(artifact, model, test, {"probabilities": logits.softmax(1)}) < 1e-6
    with pytest.raises(UsageError, match="0 of 200 test examples are not as right or wrong as with torch"):
        onnx_export.check(artifact, model, test, {"probabilities": (logits * 0.2).softmax(1)})
    with pytest.raises(UsageError, match="200 of 200 test examples are not as right or wrong as with torch"):
        onnx_export.check(artifact, model, test, {"probabilities": logits.roll(1, 1).softmax(1)})


def test_pixels_go_in_as_they_are_and_probabilities_come_out(artifact: Artifact) -> None:
    images = data.load("synthetic").test().images.squeeze(1).numpy()
    for count in (1, 7):
        assert probabilities(artifact, images[:count]).sum(1) == pytest.approx(1, abs=1e-6)
    (taken,) = artifact.session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("images", "tensor(uint8)", [28, 28])


def test_the_same_weights_give_the_same_file_with_no_trace_of_this_machine(copy: Run, folder: Path) -> None:
    before = (folder / MODEL).read_bytes()
    onnx_export.export(copy, ANY)
    assert (copy.directory / "artifact" / MODEL).read_bytes() == before
    assert (copy.directory / "artifact" / CARD).read_bytes() == (folder / CARD).read_bytes(), "no clock in it"
    assert str(Path(onnx_export.__file__).parent).encode() not in before
    assert not [node for node in onnx.load_from_string(before).graph.node if node.metadata_props]


def test_the_artifact_says_what_it_is(run: Run, folder: Path, artifact: Artifact) -> None:
    assert artifact.spec["labels"] == data.LABELS
    assert artifact.facts["run"] == run.name
    assert artifact.facts["weights_sha256"] == run.receipt["weights_sha256"]
    assert artifact.facts["data_version"] == run.receipt["data_version"]
    assert artifact.facts["locks"] == run.receipt["locks"]
    card = (folder / CARD).read_text()
    assert run.name in card
    assert "| accuracy on the test data |" in card
    assert card.count("%") > 30, "figures of each category"
    assert "The data set `synthetic`" in card
    assert "Network `linear`, 4 epochs, seed 0" in card
    assert "taken for" in card.partition("## What it can't")[2]


def test_the_samples_are_an_image_of_each_category(artifact: Artifact) -> None:
    assert {sample.title for sample in artifact.samples} == set(data.LABELS)
    assert {sample.inputs["images"].shape for sample in artifact.samples} == {(28, 28)}
    assert artifact.check() == 10
    first, second = artifact.samples[:2]
    mixed = replace(artifact, samples=(first, replace(second, outputs=first.outputs)))
    with pytest.raises(UsageError, match=f"its answer on the sample {second.title} is not the recorded one"):
        mixed.check()


def test_temperature_is_found_and_mends_the_confidence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(20_000, 10, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    for factor in (0.25, 1.0, 5.0):
        found = temperature.fit_temperature(logits * factor, labels)
        assert found == pytest.approx(factor, rel=0.03)
        assert calibration((logits * factor / found).softmax(1), labels).error < 0.015
    assert calibration((logits * 5).softmax(1), labels).error > 0.1


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_model_megabytes", 0.01, "is over the budget max_model_megabytes=0.01"),
        ("max_latency_ms_p99", 1e-6, "is over the budget max_latency_ms_p99=1e-06"),
    ],
)
def test_an_exceeded_budget_is_named_and_what_was_there_stays(copy: Run, name: str, value: float, said: str) -> None:
    before = {path: path.read_bytes() for path in (copy.directory / "artifact").iterdir()}
    with pytest.raises(BudgetExceededError, match=said) as raised:
        onnx_export.export(copy, replace(ANY, **{name: value}))
    assert f"--{name.replace('_', '-')} {math.ceil(value)}" in str(raised.value)
    assert "--min-validation-accuracy 0" in str(raised.value), "the budgets that were given stay"
    assert {path: path.read_bytes() for path in (copy.directory / "artifact").iterdir()} == before


def test_the_command_exports_the_newest_good_run_once_and_no_for_a_budget_is_exit_code_1(
    copy: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.directory.parents[1])
    shutil.rmtree(copy.directory / "artifact")
    bad = copy.directory.with_name("29990101-000000-zzzz")
    shutil.copytree(copy.directory, bad)
    (bad / "receipt.json").write_text(
        json.dumps(copy.receipt | {"metrics": {"validation": {"accuracy": 0.1}, "test": {"accuracy": 1.0}}})
    )
    words = ["--if-needed", "--data", "synthetic", "--max-latency-ms-p99", "10000", "--min-validation-accuracy", "0.5"]
    assert export.main(words) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"runs/{copy.name}/artifact: exported, 0.0")
    assert said.out.endswith(", not calibrated: 100 validation images, 200 needed\n")
    assert (
        said.err
        == f"the newest run, runs/{bad.name}, has validation accuracy 10.00%, 50.00% asked: taking runs/{copy.name}\n"
    )
    assert export.main(words) == 0
    assert capsys.readouterr().out == f"runs/{copy.name}/artifact: there already\n"
    assert export.main([*words, "--max-model-megabytes", "0.01"]) == 1
    assert "is over the budget max_model_megabytes=0.01" in capsys.readouterr().err
    assert export.main(["--run", f"runs/{copy.name}", "--max-model-megabytes", "0.01"]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"error: runs/{copy.name}: not exported, 0.0")
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_run_that_is_not_accurate_enough_gets_the_words_that_take_it(
    copy: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(copy.directory.parents[1])
    figures = {"accuracy": 0.7796, "loss": 1.0}
    monkeypatch.setattr(onnx_export, "compute_metrics", lambda _task, _predictions, _dataset: figures)
    (copy.directory / "receipt.json").write_text(
        json.dumps(copy.receipt | {"metrics": {"validation": {"accuracy": 0.7796}}})
    )
    words = 'ARGS="--max-latency-ms-p99 10000 --min-validation-accuracy 0.77"'
    short = f"0.7796 is under the budget min_validation_accuracy=0.9; train another network, or {words}"
    named = ["--run", f"runs/{copy.name}", "--max-latency-ms-p99", "10000"]
    assert export.main(named) == 1
    assert capsys.readouterr().err == f"error: runs/{copy.name}: not exported, {short}\n"
    assert export.main([*named, "--min-validation-accuracy", "0.77"]) == 0
    assert export.main([*named, "--if-needed"]) == 1
    assert capsys.readouterr().err == f"error: runs/{copy.name}: its artifact is not taken, {short}\n"
    none = f"runs: no run is good enough, the newest, runs/{copy.name}, has validation accuracy 77.96%, 90.00% asked; "
    with pytest.raises(UsageError) as refused:
        run_budgets.newest_within_budget(Path("runs"), Budgets(), data="synthetic")
    assert str(refused.value) == f'{none}train another network, or ARGS="--min-validation-accuracy 0.77"'


def test_a_run_that_is_not_done_or_data_that_is_not_there_gives_no_artifact(
    copy: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy.directory.parents[1])
    with pytest.raises(UsageError, match="data synthetics: no set of that name"):
        export.main(["--if-needed", "--data", "synthetics"])
    (copy.directory / "receipt.json").write_text(json.dumps(copy.receipt | {"state": "interrupted"}))
    with pytest.raises(
        UsageError, match=f"{copy.name}: interrupted; finish it first: make train RESUME=runs/{copy.name}"
    ):
        export.main(["--if-needed", "--run", f"runs/{copy.name}"])


def test_a_budget_that_can_never_be_kept_is_refused() -> None:
    shares = (("min_validation_accuracy", 2), ("min_test_accuracy", 2))
    for name, value in (*shares, ("max_model_megabytes", 0), ("max_latency_ms_p99", math.nan)):
        with pytest.raises(UsageError, match=f"setting {name}={value} is impossible; take a "):
            Budgets(**{name: value})


def test_the_share_that_is_right_is_compared_as_it_is() -> None:
    labels = (torch.arange(100) >= 77).long()
    images = torch.zeros(100, 1, 28, 28, dtype=torch.uint8)
    predictions = {"probabilities": torch.tensor([[1.0, 0.0]]).expand(100, 2)}
    found = compute_metrics(TASK, predictions, Split(images, labels))
    assert found["accuracy"] == 0.77


def test_few_validation_images_calibrate_nothing_and_the_card_says_so(folder: Path, artifact: Artifact) -> None:
    few = "100 validation images, 200 needed"
    assert artifact.spec["confidence_floor"] == 0
    assert artifact.facts["figures"]["temperature"] == 1
    card = (folder / CARD).read_text()
    assert f"| 1.000, not calibrated: {few} |" in card
    assert f"| none: {few} |" in card


def test_calibration_in_pieces_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(1))
    labels = torch.multinomial((logits * 1.7).softmax(1), 1, generator=torch.Generator().manual_seed(2)).squeeze(1)
    whole = temperature.calibrate(logits, labels)
    monkeypatch.setattr(temperature, "CHUNK", 7)
    assert temperature.calibrate(logits, labels) == whole
    assert 0.5 < whole[0] < 0.7


def test_a_set_too_easy_to_calibrate_stays_within_bounds() -> None:
    labels = torch.arange(200) % 10
    right = 4.0 * torch.nn.functional.one_hot(labels, 10)
    assert temperature.calibrate(right, labels) == (0.2, 0.999), "all of it right"
    assert temperature.calibrate(right, labels.roll(1))[0] == 5, "none of it"
    assert temperature.calibrate(right[:199], labels[:199]) == (1, 0)


def test_an_artifact_that_is_damaged_or_of_other_weights_or_data_is_made_anew(copy: Run) -> None:
    assert export.has_artifact(copy)
    model = copy.directory / "artifact" / MODEL
    model.write_bytes(model.read_bytes()[:-1])
    assert not export.has_artifact(copy)
    onnx_export.export(copy, ANY)
    assert export.has_artifact(copy)
    other = Run(copy.directory, copy.receipt | {"data_version": "0" * 64})
    assert not export.has_artifact(other)
    copy.receipt["weights_sha256"] = "0" * 64
    assert not export.has_artifact(copy)


def test_a_changed_bit_anywhere_is_found_before_parsing(folder: Path, tmp_path: Path) -> None:
    whole = (folder / MODEL).read_bytes()
    shutil.copytree(folder, tmp_path / "artifact")
    for place in range(0, len(whole), len(whole) // 50):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / "artifact" / MODEL).write_bytes(changed)
        with pytest.raises(UsageError, match=r"damaged, expected sha256 .* nothing in it was read"):
            Artifact.load(tmp_path / "artifact")


def test_what_is_no_artifact_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no artifact there; make one: make export"):
        Artifact.load(tmp_path)
    made = onnx.load(folder / MODEL)
    for content in (b"not a model", with_facts(made, "{}"), with_facts(made, "[")):
        onnx_export.write(tmp_path / "artifact", content, b"{}", "")
        with pytest.raises(UsageError, match=r"its hash is right and its content is not ours|model\.onnx: not JSON"):
            Artifact.load(tmp_path / "artifact")


def with_facts(model: onnx.ModelProto, facts: str) -> bytes:
    onnx.helper.set_model_props(model, {FACTS: facts})
    return bytes(model.SerializeToString())


def test_the_seal_is_what_sha256sum_checks(folder: Path) -> None:
    digest, name, samples_digest, samples_name = (folder / SEAL).read_text().split()
    assert (name, samples_name) == (MODEL, SAMPLES)
    assert digest == Artifact.load(folder).sha256
    assert samples_digest == files.digest(folder / SAMPLES)


def test_samples_of_another_model_are_refused_and_an_artifact_without_any_is_made_anew(copy: Run) -> None:
    samples = copy.directory / "artifact" / SAMPLES
    samples.write_bytes(samples.read_bytes() + b" ")
    with pytest.raises(UsageError, match="not the samples of the model beside it; make both anew: make export"):
        Artifact.load(samples.parent)
    samples.unlink()
    with pytest.raises(UsageError, match=r"no samples\.json, as of an older export; make it anew: make export"):
        Artifact.load(samples.parent)
    assert not export.has_artifact(copy)
    onnx_export.export(copy, ANY)
    assert export.has_artifact(copy)


def test_samples_are_no_part_of_the_model_and_are_bounded(run: Run) -> None:
    artifact = Artifact.load(run.directory / "artifact")
    image = artifact.samples[0].inputs["images"]
    assert base64.b64encode(image.tobytes()) not in (run.artifact / MODEL).read_bytes()
    few = Split(torch.zeros(40, 3, 256, 256, dtype=torch.uint8), torch.arange(40))
    many = Split(few.images.expand(40, -1, -1, -1).repeat(3, 1, 1, 1), torch.arange(120))
    for split, count in ((few, 40), (many, 60)):
        names = [str(each) for each in range(len(split))]
        model = replace(Model.load(run.weights), network=torch.nn.Identity(), spec={"labels": names})
        probabilities = {"probabilities": torch.eye(len(split))}
        content = dump_samples(list(onnx_export.choose_samples(model, probabilities, split, model.spec)))
        assert len(json.loads(content)["samples"]) == count, "spread over the categories"
        assert len(content) < MAX_FILE_BYTES


def test_onnxruntime_does_not_number_the_machine_nor_report(folder: Path, tmp_path: Path) -> None:
    line = f"import pathlib; from samebench.serving.artifact import *; Artifact.load(pathlib.Path({str(folder)!r}))"
    changes = {"HOME": str(tmp_path), "XDG_CACHE_HOME": None, "ORT_DISABLE_TELEMETRY": None}
    done = call("-c", line, at=tmp_path, changes=changes)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == [], "left to itself it keeps a device id in the cache"


def test_a_file_with_a_gadget_is_not_exported(copy: Run) -> None:
    copy.weights.write_bytes(checked_safetensors.dumps("checkpoint", {}, {}))
    with pytest.raises(UsageError, match="a checkpoint, expected a model"):
        onnx_export.export(copy, ANY)
