"""A run's model as an artifact: one ONNX file with everything inside the graph, checked and within budget."""

import hashlib
import json
import logging
import math
import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from samebench import project
from samebench.core import files
from samebench.core.command import UsageError
from samebench.data.source import Source
from samebench.runs import metrics
from samebench.runs.run import Run
from samebench.serving.artifact import CARD, FACTS, MODEL, SAMPLES, SAMPLES_SHA256, SEAL, Artifact
from samebench.serving.card import AGREEMENT, LATENCIES, card
from samebench.serving.run_budgets import check_budget, check_metric
from samebench.serving.samples import Sample, dump_samples
from samebench.settings import Budgets, metric_budgets
from samebench.training.model import BATCH, Model, batches_of
from samebench.training.run_evaluation import compute_metrics, load_matching_data
from samebench.training.task import Card, Dataset, Predictions, Spec, Task
from samebench.training.tensor_dataset import map_batches

EXAMPLES = 2  # by which the exporter sees the graph: with one it would take their number for fixed


class InferenceModule(nn.Module):
    """The graph of an artifact: raw examples in, predictions out."""

    def __init__(self, model: Model, spec: Spec, inputs: Sequence[str]) -> None:
        """Put what surrounds the network into the graph, so that it can't be fed wrongly."""
        super().__init__()
        self.network, self.task, self.spec, self.inputs = model.network, model.task, spec, inputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The predictions, in the order of their names in `postprocess`."""
        batch = dict(zip(self.inputs, tensors, strict=True))
        outputs = self.network(*self.task.preprocess(batch, self.spec))
        return tuple(self.task.postprocess(outputs, self.spec).values())


def graph(model: Model, spec: Spec, dataset: Dataset, facts: Mapping[str, Any]) -> bytes:
    """The ONNX file: the same for the same weights and facts, with no trace of the machine that made it."""
    # Not the values matter, but types and shapes; one example would do, twice.
    batch = dataset.get_batch(torch.zeros(EXAMPLES, dtype=torch.int64))
    inputs = {name: tensor.contiguous() for name, tensor in model.task.graph_inputs(batch).items()}
    served = InferenceModule(model, spec, list(inputs)).eval()
    outputs = list(model.predict(batch))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # that torchvision isn't there is no news
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        program = torch.onnx.export(
            served,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_shapes=(tuple({0: torch.export.Dim("count")} for _ in inputs),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None, "what dynamo exports is a program"
    model_proto: onnx.ModelProto = program.model_proto
    for part in [
        *model_proto.graph.node,
        *model_proto.graph.value_info,
        *model_proto.graph.input,
        *model_proto.graph.output,
    ]:
        part.ClearField("metadata_props")
    onnx.helper.set_model_props(model_proto, {FACTS: json.dumps(facts, sort_keys=True)})
    onnx.checker.check_model(model_proto, full_check=True)
    return bytes(model_proto.SerializeToString(deterministic=True))


def export(run: Run, budgets: Budgets, *, source: str = "") -> str:
    """Make the artifact of a run, or none if a check fails or a budget is exceeded; what there is to say of it.

    Raises BudgetExceededError naming the budget, the figure and the remedy, and UsageError if the data is of another
    version than the run's, or the artifact would not answer as torch does.
    """
    model, dataset = Model.of_run(run), Source.of(run.read_settings().data)
    if not source and not dataset.is_known():
        raise UsageError(
            f"{run.directory}: its data, {dataset.name}, is not in this checkout; {run.restore_data_hint(source)}"
        )
    task, data = model.task, load_matching_data(model, source or run.read_settings().data)
    trained_on = str(run.receipt.get("data_version", data.version))
    if data.version != trained_on:
        other = f"data version {trained_on[:12]} when it was trained, {data.version[:12]} now"
        raise UsageError(f"{run.directory}: {other}; {run.restore_data_hint(source)}, or train again")
    outputs, test = {"validation": model.outputs_of(data.validation)}, data.test()
    outputs["test"] = model.outputs_of(test)
    spec = task.finish_spec(outputs["validation"], data, model.spec)
    predictions = {split: _postprocess(task, tensor, spec) for split, tensor in outputs.items()}
    figures: dict[str, Any] = {
        f"{split}_{name}": value
        for split, dataset in (("validation", data.validation), ("test", test))
        for name, value in compute_metrics(task, predictions[split], dataset).items()
    }
    figures |= task.describe_outputs(outputs["test"], data, spec)
    samples = dump_samples(list(choose_samples(model, predictions["validation"], data.validation, spec)))
    facts = {
        "project": project.name(),
        "run": run.name,
        "weights_sha256": model.digest(),
        "data_version": data.version,
        "locks": run.receipt["locks"],
        SAMPLES_SHA256: hashlib.sha256(samples).hexdigest(),
        "figures": figures,
        "spec": spec,
    }
    for budget in metric_budgets(budgets):
        check_metric(budgets, budget, figures.get(budget.column, math.nan))
    content = graph(model, spec, data.validation, facts)
    result = Card(spec, figures, run.receipt["settings"], predictions["test"], test)
    return finish_export(content, samples, run, budgets, model, result)


def _postprocess(task: Task, outputs: Tensor, spec: Spec) -> dict[str, Tensor]:
    """The predictions of these outputs (N, …), a batch at a time."""
    places = torch.split(torch.arange(len(outputs)), BATCH)
    return map_batches(places, lambda some: task.postprocess(outputs[some], spec))


def choose_samples(model: Model, predictions: Predictions, dataset: Dataset, spec: Spec) -> Iterator[Sample]:
    """Some examples with the answers that a server must give on them."""
    for title, place in model.task.choose_samples(predictions, dataset, spec):
        inputs = model.task.graph_inputs(dataset.get_batch(torch.tensor([place])))
        outputs = {name: tensor[place].numpy() for name, tensor in predictions.items()}
        yield Sample(title, {name: tensor[0].numpy() for name, tensor in inputs.items()}, outputs)


def finish_export(content: bytes, samples: bytes, run: Run, budgets: Budgets, model: Model, result: Card) -> str:
    """Hold a graph against the budgets and torch's predictions on the test data, then write it with its card."""
    folder, megabytes, figures = run.artifact, len(content) / 1e6, result.figures
    artifact = Artifact.of(content, samples, folder / MODEL)
    check_budget(budgets, megabytes, "max_model_megabytes")
    check(artifact, model, result.test, result.predictions)
    latency = p99(artifact, model, result.test)
    check_budget(budgets, latency, "max_latency_ms_p99")
    table = model.task.summarize(result.predictions, result.test, result.spec)
    text = card(artifact, run.receipt, model.task.write_card(result), table, megabytes, budgets)
    write(folder, content, samples, text)
    record(run, artifact.sha256)
    first = model.task.metrics[0]
    first_figures = [
        f"{split} {first.name} {format(figures[f'{split}_{first.name}'], first.format)}" for split in metrics.SPLITS
    ]
    others = [
        name.replace("_", " ") + (f": {value}" if isinstance(value, str) else f" {value:.4g}")
        for name, value in figures.items()
        if not name.startswith(metrics.SPLITS)
    ]
    figures_of_machine = [f"{megabytes:.2f} MB", f"p99 {latency:.2f} ms an example"]
    return f"{folder}: exported, {', '.join([*figures_of_machine, *first_figures, *others])}"


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
            raise UsageError(f"{run.directory}: its weights have changed while they were exported; export it again")
        now.record(artifact_sha256=sha256)
        run.receipt = now.receipt
    finally:
        run.release()


def check(artifact: Artifact, model: Model, test: Dataset, expected: Predictions) -> float:
    """The largest difference from torch's predictions on the test data. Raises UsageError if it is too large.

    A float may differ by AGREEMENT, and by as much of itself; what is right or wrong by the metrics must be the same.
    """
    largest, other = 0.0, 0
    for indices in batches_of(test):
        batch = test.get_batch(indices)
        outputs = artifact.predict(arrays(model, batch))
        actual = {name: torch.from_numpy(array) for name, array in outputs.items()}
        reference = {name: tensor[indices] for name, tensor in expected.items()}
        largest = max(largest, *(_difference(actual[name], tensor) for name, tensor in reference.items()))
        values = model.task.example_values(actual, batch)
        for name, right in model.task.example_values(reference, batch).items():
            other += int((values[name] != right).sum()) if right.dtype == torch.bool else 0
    if other or largest > AGREEMENT:
        raise UsageError(
            f"{other} of {len(test)} test examples are not as right or wrong as with torch, outputs differ by up to "
            f"{largest:.1e}, at most {AGREEMENT:.0e} is right; report it with the receipt"
        )
    return largest


def arrays(model: Model, batch: Mapping[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """What the graph takes of a batch."""
    return {name: tensor.numpy() for name, tensor in model.task.graph_inputs(batch).items()}


def _difference(actual: Tensor, reference: Tensor) -> float:
    return float(((actual - reference).abs() / reference.abs().clamp_min(1)).max())


def p99(artifact: Artifact, model: Model, test: Dataset) -> float:
    """Milliseconds that 99 of 100 single examples take at most."""
    few = min(len(test), BATCH)
    examples = [arrays(model, test.get_batch(torch.tensor([place]))) for place in range(few)]
    took = []
    for index in range(LATENCIES + 20):
        start = time.perf_counter()
        artifact.predict(examples[index % few])
        took.append(time.perf_counter() - start)
    return 1000 * statistics.quantiles(took[20:], n=100)[-1]
