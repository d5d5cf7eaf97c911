"""A model on a data set: its metrics, the score of each example, and what a project draws and writes of them."""

import json
from collections.abc import Iterator

import torch
from torch import Tensor

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.environment import accelerator
from samebench.runs import run_files
from samebench.runs.run import Run
from samebench.training.model import Model, batches_of
from samebench.training.task import Batch, DataModule, Dataset, Predictions, Task


def load_matching_data(model: Model, source: str) -> DataModule:
    """The data set `source`. Raises UsageError if the model was trained on data with a different spec."""
    data = model.task.load_data(source)
    if mismatch := model.task.describe_mismatch(model.spec, data.spec):
        raise UsageError(f"{source}: other {mismatch} than the model was trained with; take a run of this data set")
    return data


def compute_metrics(task: Task, predictions: Predictions, dataset: Dataset) -> dict[str, float]:
    """The metrics of the predictions on a data set."""
    sums: dict[str, float] = {}
    for part, batch in _batches(predictions, dataset):
        for name, total in task.metric_sums(part, batch).items():
            sums[name] = sums.get(name, 0.0) + float(total)
    return dict(task.compute_metrics(sums, len(dataset)))


def score_examples(task: Task, predictions: Predictions, dataset: Dataset) -> Tensor | None:
    """The first metric's value of each example (N,), higher for better; None if it has none of single examples."""
    metric = task.metrics[0]
    values = [task.example_values(part, batch).get(metric.name) for part, batch in _batches(predictions, dataset)]
    if any(value is None for value in values):
        return None
    scores = torch.cat([value for value in values if value is not None])
    return scores if metric.higher_is_better else -scores


def _batches(predictions: Predictions, dataset: Dataset) -> Iterator[tuple[Predictions, Batch]]:
    for indices in batches_of(dataset):
        yield {name: tensor[indices] for name, tensor in predictions.items()}, dataset.get_batch(indices)


def evaluate_run(run: Run, *, source: str = "") -> str:
    """Evaluate the run's model on the test data, write evaluation.json and pictures into the run, return the text.

    On a different version of the data it writes nothing.
    """
    model = Model.of_run(run)
    model.network.to(accelerator.choose())
    data = load_matching_data(model, source or run.read_settings().data)
    test = data.test()
    predictions = model.predict_all(test)
    values = compute_metrics(model.task, predictions, test)
    figures = ", ".join(f"{metric.name} {format(values[metric.name], metric.format)}" for metric in model.task.metrics)
    title = f"{run.directory.name}: {figures} on {len(test):,} test examples"
    text = "\n\n".join(filter(None, [model.task.summarize(predictions, test, model.spec), title]))
    version, run_version = data.version, str(run.receipt.get("data_version", data.version))
    if version != run_version:
        versions = f"of data version {version[:12]}, trained on {printable(run_version[:12])}"
        return f"{text}\n{versions}: the run stays as it is"
    pictures = model.task.draw_summary(predictions, test, model.spec, title=title)
    contents = {run.path(f"{name}.png"): content for name, content in pictures.items()}
    evaluation = {"weights_sha256": model.digest(), "data_version": version, "metrics": {"test": values}}
    contents[run.path(run_files.EVALUATION)] = (json.dumps(evaluation, indent=2) + "\n").encode()
    for path, content in contents.items():
        files.write(path, content)
    return f"{text}\nwritten: {', '.join(map(str, contents))}"
