"""Turn a run's model into an artifact: one ONNX file with everything inside the graph, checked and within budget.

python -m apparel.export --run runs/20261123-201500-abcd
"""

import base64
import hashlib
import json
import logging
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from apparel.card import AGREEMENT, LATENCIES, card
from apparel.evaluate import load_matching_dataset
from apparel.serve.artifact import (
    CARD,
    FACTS,
    IMAGES,
    LEVELS,
    MODEL,
    PROBABILITIES,
    SAMPLES,
    SAMPLES_SHA256,
    SEAL,
    Artifact,
)
from apparel.serve.garment import transform_from_dict
from apparel.serve.health import spread
from apparel.settings import Budgets
from samebench.core import command, files, flags
from samebench.core.command import UsageError
from samebench.data.source import Source, pick_default_run
from samebench.environment import accelerator, determinism
from samebench.runs import metrics, records, run_files
from samebench.runs.run import RUNS, Run
from samebench.settings import budget_override_args, setting_field
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.inspection import calibration, confusion
from samebench.tasks.image_classification.temperature import MIN_IMAGES, calibrate
from samebench.training.model import Model

MAX_SAMPLE_PIXELS = 16 << 20  # bytes of all samples, a third more in samples.json; a server asks itself about them


@dataclass(frozen=True, kw_only=True)
class ExportArgs(Budgets):
    """Which run to export, within which budgets."""

    run: str = setting_field(
        "", "a run's directory; empty: the newest that is done with enough validation images right"
    )
    data: str = setting_field("", "empty: what the run was trained with")
    if_needed: bool = setting_field(False, "leave an artifact of these weights as it is")


class InferenceModule(nn.Module):
    """The graph of an artifact: images (N, H, W) or (N, 3, H, W) uint8 in, probabilities (N, labels) out."""

    def __init__(self, model: Model, temperature: float) -> None:
        """Put what surrounds the network into the graph, so that it can't be fed wrongly."""
        super().__init__()
        self.network, self.task, self.spec = model.network, model.task, {**model.spec, "temperature": temperature}

    def forward(self, images: Tensor) -> Tensor:
        """The model's answer, its confidences calibrated."""
        outputs = self.network(*self.task.preprocess({"images": images}, self.spec))
        return self.task.postprocess(outputs, self.spec)["probabilities"]


def graph(model: Model, temperature: float, facts: dict[str, Any]) -> bytes:
    """The ONNX file: the same for the same weights and facts, with no trace of the machine that made it."""
    served = InferenceModule(model, temperature).eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision isn't there is no news
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            served,
            (torch.zeros(2, *transform_from_dict(model.spec).shape, dtype=torch.uint8),),
            input_names=[IMAGES],
            output_names=[PROBABILITIES],
            dynamic_shapes=({0: torch.export.Dim("count")},),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None, "what dynamo exports is a program"
    made: onnx.ModelProto = program.model_proto
    for part in [*made.graph.node, *made.graph.value_info, *made.graph.input, *made.graph.output]:
        part.ClearField("metadata_props")
    onnx.helper.set_model_props(made, {FACTS: json.dumps(facts, sort_keys=True)})
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def export(run: Run, budgets: Budgets, *, source: str = "") -> str:
    """Make the artifact of a run, or none where a check fails or a budget is exceeded; what there is to say of it.

    Raises Exceeded naming the budget, the figure and the remedy, and UsageError where the data is of another version
    than the run's, or the artifact would not answer as torch does.
    """
    model, own = Model.of_run(run), Source.of(run.settings().data)
    if not source and not own.is_known():
        raise UsageError(
            f"{run.directory}: its data, {own.name}, is not in this checkout; {run.restore_data_hint(source)}"
        )
    known = load_matching_dataset(model, source or run.settings().data)
    trained_on = str(run.receipt.get("data_version", known.version))
    if known.version != trained_on:
        other = f"data version {trained_on[:12]} when it was trained, {known.version[:12]} now"
        raise UsageError(f"{run.directory}: {other}; {run.restore_data_hint(source)}, or train again")
    test, labels = known.test(), list(model.spec["labels"])
    seen = model.outputs({"images": known.validation.images})
    temperature, floor = calibrate(seen, known.validation.labels)
    logits = model.outputs({"images": test.images})
    expected = (logits / temperature).softmax(1)
    figures: dict[str, Any] = {
        "validation_accuracy": accuracy(seen, known.validation.labels),
        "test_accuracy": round(accuracy(expected, test.labels), 4),
        "calibration_error_before": round(calibration(logits.softmax(1), test.labels).error, 4),
        "calibration_error": round(calibration(expected, test.labels).error, 4),
        "temperature": temperature,
    }
    if len(known.validation) < MIN_IMAGES:
        figures["not_calibrated"] = f"{len(known.validation)} validation images, {MIN_IMAGES} needed"
    chosen = samples(
        known.validation, model.predict({"images": known.validation.images})["probabilities"].argmax(1), labels
    )
    facts = {
        "run": run.name,
        "weights_sha256": model.digest(),
        "data_version": known.version,
        "locks": run.receipt["locks"],
        "labels": labels,
        **transform_from_dict(model.spec).to_dict(),
        SAMPLES_SHA256: hashlib.sha256(chosen).hexdigest(),
        "confidence_floor": floor,
        "figures": figures,
    }
    if (found := levels(known.training.images)) != [[0, 255]] * len(found):
        facts[LEVELS] = found
    content = graph(model, temperature, facts)
    return finish_export(content, chosen, run, budgets, test, expected)


def levels(images: Tensor) -> list[list[int]]:
    """The lowest and the highest level of images (N, C, H, W) uint8 in each channel."""
    channels = images.transpose(0, 1).flatten(1)
    return [[int(channel.min()), int(channel.max())] for channel in channels]


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The share of `labels` (N,) that have the highest of `probabilities`, or logits, (N, 10)."""
    return float((probabilities.argmax(1) == labels).double().mean())


def finish_export(content: bytes, chosen: bytes, run: Run, budgets: Budgets, test: Split, expected: Tensor) -> str:
    """Hold a graph against the budgets and torch's answers (N, 10) on the test images, then write it with its card."""
    folder = run.artifact
    right, megabytes = accuracy(expected, test.labels), len(content) / 1e6
    artifact = Artifact.of(content, chosen, folder / MODEL)
    check_budget(budgets, artifact.facts["figures"]["validation_accuracy"], "min_validation_accuracy")
    check_budget(budgets, right, "min_test_accuracy")
    check_budget(budgets, megabytes, "max_model_megabytes")
    check(artifact, test, expected)
    latency = p99(artifact, test)
    check_budget(budgets, latency, "max_latency_ms_p99")
    figures = artifact.facts["figures"]
    validated = figures["validation_accuracy"]
    measured = {**figures, "megabytes": megabytes, "slowest": budgets.max_latency_ms_p99}
    matrix = confusion(test.labels, expected.argmax(1), categories=len(artifact.labels))
    write(folder, content, chosen, card(artifact, run.receipt, measured, matrix))
    record(run, artifact.sha256)
    before, after = figures["calibration_error_before"], figures["calibration_error"]
    calibration = f"calibration error {before:.2%} before and {after:.2%} after"
    if few := figures.get("not_calibrated"):
        calibration = f"calibration error {after:.2%}, not calibrated: {few}"
    return (
        f"{folder}: exported, {megabytes:.2f} MB, validation accuracy {validated:.2%}, test accuracy {right:.2%}, "
        f"p99 {latency:.2f} ms an image, {calibration}"
    )


def samples(split: Split, predicted: Tensor, labels: Sequence[str]) -> bytes:
    """samples.json: the first image of each category that was predicted right, of at most MAX_SAMPLE_PIXELS together.

    The page shows some of them, and the server asks itself about them.
    """
    chosen = []
    for place, label in enumerate(labels):
        right = ((split.labels == place) & (predicted == place)).nonzero()[:1, 0].tolist()
        chosen += [(label, index) for index in right]
    most = max(1, MAX_SAMPLE_PIXELS // split.images[0].numel())
    described = []
    for place in spread(len(chosen), 0, most):
        label, index = chosen[place]
        pixels = base64.b64encode(split.images[index].numpy().tobytes()).decode()
        described.append({"label": label, "pixels": pixels})
    return f"{json.dumps({'samples': described}, indent=1)}\n".encode()


class BudgetExceededError(Exception):
    """A budget that a figure does not keep."""


def check_budget(budgets: Budgets, figure: float, name: str) -> None:
    """Raise Exceeded, with the remedy, where the figure is over the budget `name`, or under one that is the least."""
    budget, least = getattr(budgets, name), name.startswith("min_")
    if figure < budget if least else figure > budget:
        said = f"{figure:.4g} is {'under' if least else 'over'} the budget {name}={budget:g}"
        raise BudgetExceededError(
            f"{said}; train another network, or {budget_override_args(budgets, name, figure, defaults=Budgets())}"
        )


def write(folder: Path, content: bytes, chosen: bytes, card: str) -> None:
    """Samples and model, then their seal: without the right seal it is no artifact."""
    folder.mkdir(exist_ok=True)
    files.write(folder / CARD, card.encode())
    files.write(folder / SAMPLES, chosen)
    files.write(folder / MODEL, content)
    sums = [f"{hashlib.sha256(each).hexdigest()}  {name}\n" for name, each in ((MODEL, content), (SAMPLES, chosen))]
    files.write(folder / SEAL, "".join(sums).encode())


def record(run: Run, sha256: str) -> None:
    """Put the model's SHA-256 into the receipt, so that another artifact in its place is recognised.

    Raises UsageError where another process works on the run, or has changed its weights.
    """
    run.acquire()
    try:
        now = Run.open(run.directory)
        if now.receipt.get("weights_sha256") != run.receipt.get("weights_sha256"):
            raise UsageError(f"{run.directory}: its weights have changed while they were exported; make export again")
        now.record(artifact_sha256=sha256)
        run.receipt = now.receipt
    finally:
        run.release()


def check(artifact: Artifact, test: Split, expected: Tensor) -> float:
    """The largest difference from what torch answers on the test images. Raises UsageError where it is too large."""
    images = test.images.squeeze(1).numpy()
    got = torch.cat([torch.from_numpy(artifact.predict(part)) for part in _parts(images)])
    difference = float((got - expected).abs().max())
    other = int((got.argmax(1) != expected.argmax(1)).sum())
    if other or difference > AGREEMENT:
        raise UsageError(
            f"{other} of {len(test)} test images get another label than from torch, probabilities differ by up to "
            f"{difference:.1e}, at most {AGREEMENT:.0e} is right; report it with the receipt"
        )
    return difference


def p99(artifact: Artifact, test: Split) -> float:
    """Milliseconds that 99 of 100 single images take at most."""
    images = test.images.squeeze(1).numpy()
    took = []
    for index in range(LATENCIES + 20):
        begun = time.perf_counter()
        artifact.predict(images[index % len(images)][None])
        took.append(time.perf_counter() - begun)
    return 1000 * statistics.quantiles(took[20:], n=100)[-1]


def check_existing_artifact(run: Run, budgets: Budgets) -> None:
    """Raise Exceeded where the artifact that is there does not keep the budgets that can be asked without measuring."""
    folder = run.artifact
    figures = Artifact.load(folder).facts["figures"]
    in_receipt = metrics.figures(run.receipt).get("validation_accuracy", 0)  # older artifacts have the test figure only
    check_budget(budgets, figures.get("validation_accuracy", in_receipt), "min_validation_accuracy")
    check_budget(budgets, figures["test_accuracy"], "min_test_accuracy")
    check_budget(budgets, (folder / MODEL).stat().st_size / 1e6, "max_model_megabytes")


def newest_within_budget(home: Path, budgets: Budgets, *, data: str = "") -> Run:
    """The newest run in `home` that is done on this data and right on enough of the validation images.

    Raises UsageError where there is none.
    """
    done, least = Run.done(home, data=data), budgets.min_validation_accuracy
    shares = [metrics.figures(run.receipt).get("validation_accuracy", 0) for run in done]
    good = [run for run, share in zip(done, shares, strict=True) if share >= least]
    newest = f"{done[0].directory}, has validation accuracy {shares[0]:.2%}, {least:.2%} asked"
    if not good:
        remedy = budget_override_args(budgets, "min_validation_accuracy", shares[0], defaults=Budgets())
        raise UsageError(f"{home}: no run is good enough, the newest, {newest}; train another network, or {remedy}")
    found = good[pick_default_run([run.receipt for run in good])]
    if done[0] not in good:
        print(f"the newest run, {newest}: taking {found.directory}", file=sys.stderr)
    return found


def _parts(images: Any) -> list[Any]:
    return [images[start : start + 1000] for start in range(0, len(images), 1000)]


def has_artifact(run: Run) -> bool:
    """Whether the run has a whole artifact of its weights and its data."""
    try:
        Artifact.load(run.artifact)
    except UsageError:
        return False
    return not run_files.find_artifact_problem(run.directory, run.receipt)


def refuse_foreign_weights(run: Run) -> None:
    """Raise UsageError where the run has weights, or a patch, that are not those of its receipt.

    An artifact may have outlived them.
    """
    if problem := run_files.find_uncommitted_problem(run.directory, run.receipt):
        raise UsageError(f"{run.directory}: {problem}; take the run from where it was trained")
    if run.weights.exists() and (problem := run_files.find_weights_problem(run.directory, run.receipt)):
        raise UsageError(f"{run.weights}: {problem}; take the run from where it was trained")


def main(argv: Sequence[str]) -> int:
    """Export the run asked for, or the newest good one; exit code 1 if a budget is exceeded."""
    about = "Turn a run's model into an artifact: model.onnx, its hash and a model card."
    question = flags.parse(ExportArgs, argv, program="python -m apparel.export", about=about)
    run = (
        Run.open(records.folder(question.run))
        if question.run
        else newest_within_budget(RUNS, question, data=question.data)
    )
    run.refuse_undone()
    try:
        refuse_foreign_weights(run)
        if question.if_needed and (problem := run_files.find_artifact_problem(run.directory, run.receipt)):
            print(f"{run.artifact}: {problem}; it is exported anew", file=sys.stderr, flush=True)
        if question.if_needed and has_artifact(run):
            check_existing_artifact(run, question)
            print(f"{run.artifact}: there already")
            return command.DONE
        fast = run.settings().fast
        determinism.reexecute(fast=fast)
        determinism.pin(fast=fast)
        accelerator.choose()  # refuses as everywhere; the graph itself is made on the CPU, and so the same either way
        print(export(run, question, source=question.data))
    except BudgetExceededError as exceeded:
        done = "its artifact is not taken" if question.if_needed and has_artifact(run) else "not exported"
        print(f"error: {run.directory}: {done}, {exceeded}", file=sys.stderr)
        return command.NO
    return command.DONE


if __name__ == "__main__":
    command.run(main)
