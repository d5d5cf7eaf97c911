"""What two or more runs have not in common, their curves in one picture, and whether their difference is chance.

python -m samebench.training.compare --runs "20261123-201500-abcd runs/20261123-212935-cgzz"
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from torch import Tensor

from samebench.core import command, files, flags
from samebench.core.command import UsageError
from samebench.core.table import align
from samebench.core.text import printable
from samebench.environment import accelerator, determinism
from samebench.runs import metrics, receipt, records, significance
from samebench.runs.run import Run
from samebench.runs.significance import PairedTest
from samebench.training import figures
from samebench.training.evaluate import score_examples
from samebench.training.model import Model
from samebench.training.task import DataModule, Task

# What is shown together, by the names of a receipt; what else there is comes last.
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
    "run",
    "started",
    "ended",
    "history",
    "resumed",
    "job",
    "code",
    "machine",
    "model",
    "artifact_sha256",
    "sequence",
    "checkout",
    "metrics",  # shown as figures
    "metric_definitions",
    *metrics.FIRST_EDITION_COLUMNS,
}  # no two runs have them in common
FORMATS: dict[str, Callable[[float], str]] = {
    "seconds": lambda seconds: f"{seconds:.1f} s",
    "peak_memory_bytes": lambda size: f"{size / 1e6:,.0f} MB",
    "machine.memory_bytes": lambda size: f"{size / 1e6:,.0f} MB",
}
WIDEST = 40  # characters of a value

Facts = dict[str, list[object]]


@dataclass(frozen=True)
class Args:
    """Which runs to compare, asked about which data."""

    runs: str = field(default="", metadata={"help": "two or more runs, ids or directories, with spaces between"})
    data: str = field(default="", metadata={"help": "empty: what each run was trained with"})
    json: bool = field(default=False, metadata={"help": "one document instead of lines"})


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

    def facts(self) -> dict[str, Any]:
        """The same as JSON tells it."""
        facts = {"first": self.first, "second": self.second}
        if not self.test:
            return {**facts, "refused": self.reason}
        return {**facts, **asdict(self.test), "p": self.test.p, "more_than_chance": self.test.is_significant}


def find(words: str) -> list[Run]:
    """The runs that are named. Raises UsageError where there are not two, or one of them is none."""
    paths = [records.folder(word) for word in words.split()]
    twice = [str(path) for path in paths if sum(path.resolve() == other.resolve() for other in paths) > 1]
    if len(paths) < 2 or twice:
        given = f"RUNS={words}: " + (f"{twice[0]} is there twice" if twice else "too few")
        raise UsageError(f'{given}; give two or more, such as RUNS="<id> <id>"')
    return [Run.open(path) for path in paths]


def newest(home: Path, *, version: str, count: int = 2) -> list[Run]:
    """The newest done runs in `home` on data of this version, the oldest of them first; none where there are fewer."""
    found = [
        Run(record.directory, dict(record.receipt))
        for record in records.candidates(home)
        if record.state == "done" and record.receipt.get("data_version") == version
    ]
    return found[:count][::-1] if len(found) >= count else []


def find_differences(runs: Sequence[Run]) -> dict[str, Facts]:
    """What is not the same in all, each fact with the value in every run, group by group."""
    receipts = [
        {**run.receipt, "figures": metrics.figures(run.receipt), "epochs_done": len(run.receipt.get("history", []))}
        for run in runs
    ]
    known = {name.partition(".")[0] for names in GROUPS.values() for name in names}
    others = {name for each in receipts for name in each} - known - UNCOMPARED
    groups = {group: receipt.find_differences(receipts, fields=names) for group, names in GROUPS.items()}
    groups["more"] = receipt.find_differences(receipts, fields=others)
    return {group: facts for group, facts in groups.items() if facts}


def sources(runs: Sequence[Run]) -> list[str]:
    """The source files that are not the same in all."""
    found = receipt.find_differences([run.receipt for run in runs], fields=["code.source"])
    return [name.removeprefix("code.source.") for name in found]


def names(runs: Sequence[Run]) -> list[str]:
    """What tells them apart in few letters: their ids, and where these are not enough their directories."""
    short = [run.directory.resolve().name for run in runs]
    return short if len(set(short)) == len(short) else [str(run.directory) for run in runs]


def table(runs: Sequence[Run], groups: Mapping[str, Facts], changed: Sequence[str]) -> str:
    """The groups as lines of text, a column for each run, and what all of them have in common by name."""
    rows = [["", *names(runs)]]
    for group, facts in groups.items():
        rows.append([group, *[""] * len(runs)])
        rows += [
            [f"  {name.removeprefix(f'{group}.')}", *map(partial(_format, name), facts[name], runs)] for name in facts
        ]
    lines = align(rows)
    if changed:
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        lines.append(f"source files that differ: {len(changed)}: {', '.join(changed[:3])}{more}")
    common = [
        group for group in ("settings", "data", "code", "environment", "machine", "weights") if group not in groups
    ]
    common = [group for group in common if group != "code" or not changed]
    return "\n".join(map(printable, [*lines, f"the same: {', '.join(common) or 'nothing'}"]))


def _format(name: str, value: object, run: Run) -> str:
    text = receipt.format_value(value)
    if isinstance(value, int | float):
        column = name.removeprefix("figures.")
        text = metrics.show_value(column, value, run.receipt) if column != name else FORMATS.get(name, str)(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def draw(runs: Sequence[Run], groups: Mapping[str, Facts]) -> Path | None:
    """Put the curves of all that have some into the first run's directory as `compare.png`; None where none has."""
    histories = {}
    metric = metrics.of_receipt(runs[0].receipt)[0]
    for place, (name, run) in enumerate(zip(names(runs), runs, strict=True)):
        settings = [f"{_format(key, each[place], run)}" for key, each in groups.get("settings", {}).items()]
        history = run.receipt.get("history", [])
        if history and all(each.keys() >= {"train_loss", f"validation_{metric.name}"} for each in history):
            histories[f"{printable(name)}  {', '.join(settings)[: max(0, 70 - len(name))]}".strip()] = history
    if not histories:
        return None
    path = runs[0].path("compare.png")
    files.write(
        path, figures.png(figures.together(histories, metric, title=f"Loss and {metric.name} after each epoch"))
    )
    return path


@dataclass(frozen=True)
class TestAnswers:
    """How good a run's model is on each test example (N,): right or wrong, or a value that is higher if better."""

    model: Model
    scores: Tensor


def evaluate_on_test(run: Run, *, source: str = "") -> TestAnswers:
    """Ask the run's model about the test data.

    Raises UsageError if weights or data are not those that its receipt names.
    """
    model = Model.of_run(run)
    data = load(model.task, source or run.settings().data)
    if data.version != (expected := str(run.receipt.get("data_version"))):
        said = f"trained on data {expected[:12]}, here are {data.version[:12]}"
        raise UsageError(f"{run.directory}: {said}; {run.restore_data_hint(source)}")
    model.network.to(accelerator.choose())
    test = data.test()
    scores = score_examples(model.task, model.predict_all(test), test)
    if scores is None:
        raise UsageError(f"{model.task.metrics[0].name} has no value of a single example")
    return TestAnswers(model, scores)


@cache
def load(task: Task, name: str) -> DataModule:
    """The data set, read once for all runs."""
    return task.load_data(name)


def compare_pair(first: Run, second: Run, ask: Callable[[Run], TestAnswers]) -> PairedTest:
    """The test of two runs by the same examples. Raises UsageError if they can't be compared."""
    for run in (first, second):
        if (state := run.receipt.get("state")) != "done":
            raise UsageError(f"{run.directory} is {state}; a test takes runs that are done")
    versions = [str(run.receipt.get("data_version"))[:12] for run in (first, second)]
    if versions[0] != versions[1]:
        raise UsageError(f"other data, {versions[0]} and {versions[1]}; a test takes the same examples")
    one, other = ask(first), ask(second)
    if mismatch := one.model.task.describe_mismatch(one.model.spec, other.model.spec):
        raise UsageError(f"other {mismatch}; a test takes models of the same data")
    return significance.compare(one.scores, other.scores, metric=one.model.task.metrics[0].name)


def compare_on_test(runs: Sequence[Run], *, source: str = "") -> list[TestResult]:
    """Test every other run against the first."""
    ask = cache(partial(evaluate_on_test, source=source))
    first, *others = zip(names(runs), runs, strict=True)
    found = []
    for name, run in others:
        try:
            found.append(TestResult(first[0], name, compare_pair(first[1], run, ask)))
        except UsageError as reason:
            found.append(TestResult(first[0], name, None, str(reason)))
    return found


def compare(runs: Sequence[Run], *, source: str = "", as_json: bool = False) -> str:
    """Hold the runs side by side, draw their curves, test them; what to say of it."""
    groups, changed = find_differences(runs), sources(runs)
    picture, found = draw(runs, groups), compare_on_test(runs, source=source)
    if as_json:
        told = {
            "runs": [str(run.directory) for run in runs],
            "differs": groups,
            "sources": changed,
            "tests": [each.facts() for each in found],
            "picture": picture and str(picture),
        }
        return json.dumps(told, indent=2)
    curves = f"curves drawn in {picture}" if picture else "no curves: no run has come to the end of an epoch"
    return "\n\n".join([table(runs, groups, changed), "\n".join(printable(each) for each in found), curves])


def main(argv: Sequence[str]) -> None:
    """Compare the runs asked for."""
    about = "Runs side by side: what differs, their curves, and whether one is better by more than chance."
    question = flags.parse(Args, argv, program="python -m samebench.training.compare", about=about)
    runs = find(question.runs)
    determinism.reexecute(fast=False)
    determinism.pin()
    figures.use_style()
    print(compare(runs, source=question.data, as_json=question.json))


if __name__ == "__main__":
    command.run(main)
