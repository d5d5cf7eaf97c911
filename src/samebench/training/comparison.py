"""Runs side by side: their differences, their curves in one picture, and whether one is better by more than chance."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.table import align
from samebench.core.text import printable
from samebench.environment import accelerator
from samebench.runs import metrics, receipt, records, significance
from samebench.runs.run import Run
from samebench.runs.significance import PairedTest
from samebench.training import figures
from samebench.training.model import Model
from samebench.training.run_evaluation import score_examples
from samebench.training.task import DataModule, Task

# The groups of the table, with the names of their values in a receipt. All other names come last.
GROUPS = {
    "settings": ("settings",),
    "data": ("data_version",),
    "code": ("code.commit", "code.dirty", "uncommitted_sha256"),
    "environment": (
        *("locks", "environment", "fingerprint", "cpu_level", "device", "gpu", "precision", "processes", "threads"),
    ),
    "machine": tuple(f"machine.{name}" for name in ("cpu", "cores", "memory_bytes", "kernel", "libc")),
    "figures": ("state", "figures", "seconds", "epochs_done", "peak_memory_bytes"),
    "weights": ("weights_sha256",),
}
UNCOMPARED = {
    *("run", "started", "ended", "history", "resumed", "job", "code", "machine", "model", "artifact_sha256"),
    *("sequence", "checkout", "metrics", "metric_definitions"),  # metrics are shown as figures
    *metrics.FIRST_EDITION_COLUMNS,
}  # they differ between any two runs
FORMATS: dict[str, Callable[[float], str]] = {
    "seconds": lambda seconds: f"{seconds:.1f} s",
    "peak_memory_bytes": lambda size: f"{size / 1e6:,.0f} MB",
    "machine.memory_bytes": lambda size: f"{size / 1e6:,.0f} MB",
}
MAX_WIDTH = 40  # characters of a value

Rows = dict[str, list[object]]  # by the name in a receipt, the value in each run


@dataclass(frozen=True)
class TestResult:
    """The test of a run against the first one, or why there is none."""

    first: str
    second: str
    test: PairedTest | None
    reason: str = ""

    def __str__(self) -> str:
        """One line."""
        if not self.test:
            return f"{self.second} against {self.first}: no test: {self.reason}"
        return f"{self.second} against {self.first}: {self.test}"

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        names = {"first": self.first, "second": self.second}
        if not self.test:
            return {**names, "refused": self.reason}
        return {**names, **asdict(self.test), "p": self.test.p, "more_than_chance": self.test.is_significant}


def newest(home: Path, *, version: str, count: int = 2) -> list[Run]:
    """The `count` newest done runs in `home` on data of this version, the oldest first; none if there are fewer."""
    runs = [
        Run(record.directory, dict(record.receipt))
        for record in records.candidates(home)
        if record.state == "done" and record.receipt.get("data_version") == version
    ]
    return runs[:count][::-1] if len(runs) >= count else []


def find_differences(runs: Sequence[Run]) -> dict[str, Rows]:
    """The values that differ between the runs, by group and name."""
    receipts = [
        {**run.receipt, "figures": metrics.figures(run.receipt), "epochs_done": len(run.receipt.get("history", []))}
        for run in runs
    ]
    in_groups = {name.partition(".")[0] for names in GROUPS.values() for name in names}
    others = set().union(*receipts) - in_groups - UNCOMPARED
    groups = {group: receipt.find_differences(receipts, fields=names) for group, names in GROUPS.items()}
    groups["more"] = receipt.find_differences(receipts, fields=others)
    return {group: rows for group, rows in groups.items() if rows}


def sources(runs: Sequence[Run]) -> list[str]:
    """The source files that differ between the runs."""
    differences = receipt.find_differences([run.receipt for run in runs], fields=["code.source"])
    return [name.removeprefix("code.source.") for name in differences]


def names(runs: Sequence[Run]) -> list[str]:
    """Short names of the runs: their ids, or their directories if two have the same id."""
    short = [run.directory.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.directory) for run in runs]


def table(runs: Sequence[Run], groups: Mapping[str, Rows], changed: Sequence[str]) -> str:
    """The groups as lines of text with a column for each run, and the names of the groups that are the same."""
    rows = [["", *names(runs)]]
    for group, values in groups.items():
        rows.append([group, *[""] * len(runs)])
        rows += [
            [f"  {name.removeprefix(f'{group}.')}", *map(partial(_format, name), row, runs)]
            for name, row in values.items()
        ]
    lines = align(rows)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        lines.append(f"source files that differ: {len(changed)}: {', '.join(changed[:3])}{more}")
    different = {*groups, "figures", *(["code"] if changed else [])}
    common = [group for group in GROUPS if group not in different]
    return "\n".join(map(printable, [*lines, f"the same: {', '.join(common) or 'nothing'}"]))


def _format(name: str, value: object, run: Run) -> str:
    text = receipt.format_value(value)
    if isinstance(value, int | float):
        column = name.removeprefix("figures.")
        text = metrics.show_value(column, value, run.receipt) if column != name else FORMATS.get(name, str)(value)
    return text if len(text) <= MAX_WIDTH else f"{text[: MAX_WIDTH - 1]}…"


def draw(runs: Sequence[Run], groups: Mapping[str, Rows]) -> Path | None:
    """Draw the curves of the runs into `compare.png` in the first run's directory; None if no run has any."""
    histories = {}
    metric = metrics.of_receipt(runs[0].receipt)[0]
    for place, (name, run) in enumerate(zip(names(runs), runs, strict=True)):
        settings = [_format(key, values[place], run) for key, values in groups.get("settings", {}).items()]
        history = run.receipt.get("history", [])
        if history and all(epoch.keys() >= {"train_loss", f"validation_{metric.name}"} for epoch in history):
            histories[f"{printable(name)}  {', '.join(settings)[: max(0, 70 - len(name))]}".strip()] = history
    if not histories:
        return None
    path = runs[0].path("compare.png")
    figure = figures.together(histories, metric, title=f"Loss and {metric.name} after each epoch")
    files.write(path, figures.png(figure))
    return path


@dataclass(frozen=True)
class TestScores:
    """The scores of a run's model on each test example (N,): right or wrong, or a value that is higher if better."""

    model: Model
    scores: Tensor


def evaluate_on_test(run: Run, *, source: str = "") -> TestScores:
    """The scores of the run's model on the test data. Raises UsageError if weights or data are not of its receipt."""
    model = Model.of_run(run)
    data = load(model.task, source or run.read_settings().data)
    if data.version != (expected := str(run.receipt.get("data_version"))):
        versions = f"trained on data {expected[:12]}, here are {data.version[:12]}"
        raise UsageError(f"{run.directory}: {versions}; {run.restore_data_hint(source)}")
    model.network.to(accelerator.choose())
    test = data.test()
    scores = score_examples(model.task, model.predict_all(test), test)
    if scores is None:
        raise UsageError(f"{model.task.metrics[0].name} has no value of a single example")
    return TestScores(model, scores)


@cache
def load(task: Task, name: str) -> DataModule:
    """The data set, read once for all runs."""
    return task.load_data(name)


def compare_pair(first: Run, second: Run, evaluate: Callable[[Run], TestScores]) -> PairedTest:
    """The paired test of two runs on the same examples. Raises UsageError if they can't be compared."""
    for run in (first, second):
        if (state := run.receipt.get("state")) != "done":
            raise UsageError(f"{run.directory} is {state}; a test takes runs that are done")
    versions = [str(run.receipt.get("data_version"))[:12] for run in (first, second)]
    if versions[0] != versions[1]:
        raise UsageError(f"other data, {versions[0]} and {versions[1]}; a test takes the same examples")
    one, other = evaluate(first), evaluate(second)
    if mismatch := one.model.task.describe_mismatch(one.model.spec, other.model.spec):
        raise UsageError(f"other {mismatch}; a test takes models of the same data")
    return significance.compare(one.scores, other.scores, metric=one.model.task.metrics[0].name)


def compare_on_test(runs: Sequence[Run], *, source: str = "") -> list[TestResult]:
    """Test every other run against the first."""
    evaluate = cache(partial(evaluate_on_test, source=source))
    first, *others = zip(names(runs), runs, strict=True)
    results = []
    for name, run in others:
        try:
            results.append(TestResult(first[0], name, compare_pair(first[1], run, evaluate)))
        except UsageError as reason:
            results.append(TestResult(first[0], name, None, str(reason)))
    return results


def compare(runs: Sequence[Run], *, source: str = "", as_json: bool = False) -> str:
    """Compare the runs, draw their curves and test them; return the text, or a JSON document."""
    groups, changed = find_differences(runs), sources(runs)
    picture, results = draw(runs, groups), compare_on_test(runs, source=source)
    if as_json:
        document = {
            "runs": [str(run.directory) for run in runs],
            "differs": groups,
            "sources": changed,
            "tests": [result.to_dict() for result in results],
            "picture": picture and str(picture),
        }
        return json.dumps(document, indent=2)
    curves = f"curves drawn in {picture}" if picture else "no curves: no run has come to the end of an epoch"
    return "\n\n".join([table(runs, groups, changed), "\n".join(map(printable, results)), curves])
