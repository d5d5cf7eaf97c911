"""The steps from the data to what a partner gets, each held against what it was made from; `make flow` shows them.

    python3 -I src/samebench/host --flow samebench.shipping.flow --run runs/20261123-201500-abcd

It only looks, and needs neither torch nor anything else that is installed: so it is quick, and there before all else.
"""

import math
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import command, files, flags, make_command, untrusted
from samebench.core.command import UsageError
from samebench.data.source import Source, default_name, is_generated, pick_default_run
from samebench.runs import flow_steps, metrics, receipt, records, run_files, train_command
from samebench.runs.flow_steps import MISSING, STALE, UNKNOWN, UP, Host, Step, abbreviate
from samebench.settings import MetricBudget, budget_override_args, metric_budgets
from samebench.shipping import bundle, sbom

RUNS, BUNDLES = Path("runs"), Path("dist")
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class Args:
    """Whose steps to show."""

    run: str = field(default="", metadata={"help": "a run's directory; empty: the newest that is done"})
    data: str = field(default="", metadata={"help": "only a run with this data set; empty: with any"})
    json: bool = field(default=False, metadata={"help": "one document, for machines"})


@dataclass(frozen=True)
class FlowRun:
    """A run as its receipt tells it: `samebench.runs.run`, which also makes runs, takes torch."""

    directory: Path
    receipt: Mapping[str, Any]
    named: bool = False  # whether the others only take it by name
    retrained_first: bool = False  # whether it is trained again first: then they take the new one

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was trained with."""
        return dict(self.receipt.get("settings", {}))

    @property
    def weights(self) -> object:
        """Their hash; None where it is not done."""
        return self.receipt.get("weights_sha256")

    def is_done(self) -> bool:
        """Whether it has weights, and figures of them."""
        return self.receipt.get("state") == "done"

    def missed_budget(self) -> MetricBudget | None:
        """The first budget for the validation data that its figures do not keep; None while it is not done."""
        figures = metrics.figures(self.receipt)
        budgets = [each for each in metric_budgets(project.budgets_class()()) if each.split == "validation"]
        missed = (each for each in budgets if not each.allows(figures.get(each.column, math.nan)))
        return next(missed, None) if self.is_done() else None

    def show(self, column: str) -> str:
        """One of its figures, with its name."""
        return f"{column.replace('_', ' ')} {metrics.show(column, self.receipt)}"

    def make_words(self, *, served: bool = True) -> str:
        """What a command must be told to take this run, and to take it as it is."""
        missed = self.missed_budget() if served else None
        words = [make_command.variable("RUN", self.directory)] if self.named or missed else []
        if self.retrained_first:
            words = [Source.of(str(self.settings.get("data"))).make_words(named=self.named)]
        if missed:
            defaults, figure = project.budgets_class()(), metrics.figures(self.receipt).get(missed.column, 0.0)
            words.append(budget_override_args(defaults, missed.name, figure, defaults=defaults))
        return " ".join(words)


def choose_run(question: Args) -> FlowRun | None:
    """The run asked for, or the one that is taken of those done on this data; empty: any but the synthetic; or None.

    Raises UsageError where the one asked for is none, or on another set.
    """
    if question.run:
        directory = records.folder(question.run)
        if not (directory / "receipt.json").is_file():
            raise UsageError(f"{question.run}: no run with a receipt there; take one of runs/, or train first")
        if damage := (chosen := records.read(directory)).damage:
            raise UsageError(f"{directory / 'receipt.json'}: {damage}; take another")
        if question.data and not Source.matches(dataset := str(chosen.settings.get("data")), question.data):
            raise UsageError(f"{directory}: was trained on {dataset}, not on {question.data}; leave out one of the two")
        return FlowRun(directory, {**chosen.receipt, "state": chosen.state}, named=True)
    done_runs = [record for record in records.ordinary(records.find(RUNS)) if record.state == "done"]
    asked, unasked = (
        matching[pick_default_run([each.receipt for each in matching])]
        if (matching := [each for each in done_runs if Source.matches(str(each.settings.get("data")), data)])
        else None
        for data in (question.data, "")
    )
    return FlowRun(asked.directory, asked.receipt, named=asked is not unasked) if asked else None


# ---- the steps ----


def steps(question: Args, host: Host) -> list[Step]:
    """All of them."""
    run = choose_run(question)
    source = Source.of(question.data or str(run.settings.get("data") if run else default_name()))
    result = [data_step(source), flow_steps.workspace(host), training_step(run, source)]
    if run and any(step.state == STALE for step in result):
        run = replace(run, retrained_first=True)
    artifact = artifact_step(run)
    has_image_name = run and artifact.state != MISSING and host.sees_images
    image = flow_steps.server_image_name(run.directory / "artifact", host) if run and has_image_name else ""
    result += [evaluation_step(run), artifact, server_step(run, image, host), bundle_step(run, host.images.get(image))]
    return flow_steps.propagate_stale(result)


def data_step(source: Source) -> Step:
    """The data: every file of the listing by its hash."""
    listed = source.listed()
    command = make_command.make("data", "" if source.name == default_name() else f"DATASET={source.name}")
    missing = [name for name in listed if not source.path(name).is_file()]
    other = [name for name, sha256 in listed.items() if name not in missing and not source.matches_sha256(name, sha256)]
    state, why = UP, f"{len(listed)} file{'s' * (len(listed) > 1)}, by their hashes" if listed else "without a version"
    if is_generated(source.name):
        why = "made, and not stored"
    elif not source.is_known():
        state, why = MISSING, "not in this checkout"
    elif missing:
        state, why = MISSING, "not there yet" if len(missing) == len(listed) else f"without {abbreviate(missing)}"
    elif other:
        state, why = STALE, f"changed: {abbreviate(other)}"
    return Step("data", state, f"{source.name}: {why}", command)


def training_step(run: FlowRun | None, source: Source) -> Step:
    """The run: sources, locks and data that it was made from are those of this checkout; its settings are its own."""
    after = ("data", "workspace")
    if run is None:
        return Step("training run", MISSING, "none is done", make_command.make("train", source.make_words()), after)
    state = run.receipt.get("state")
    if state != "done":
        resume = train_command.make_resume_command(run.directory, run.receipt)
        return Step("training run", MISSING, f"{run.directory} is {state}", resume, after)
    changed = changes(run, source)
    problem = run_files.find_weights_problem(run.directory, run.receipt)
    first = metrics.of_receipt(run.receipt)[0].name
    state, why = UP, f"{run.directory.name}, {run.show(f'validation_{first}')}"
    if problem:
        state, why = STALE, problem
    elif changed:
        state, why = STALE, f"changed: {abbreviate(changed)}"
    return Step("training run", state, why, train_command.make_retrain_command(run.receipt), after)


def changes(run: FlowRun, source: Source) -> list[str]:
    """The inputs of a run that have changed since."""
    lock_digests = {
        name: files.digest(path) for name in run.receipt.get("locks", {}) if (path := flow_steps.ROOT / name).is_file()
    }
    now = {"code": {"source": receipt.sources()}, "locks": lock_digests, "listings": receipt.listings()}
    data = f"listings.data/{source.name}.sha256"
    lines = receipt.diff(run.receipt, now, fields=["code.source", "locks", data])
    return [re.sub(r"^(code\.source|locks)\.|: .*$", "", line).replace(data, "the data") for line in lines]


def evaluation_step(run: FlowRun | None) -> Step:
    """The evaluation, whose file names the weights that it is of."""
    path = run.directory / run_files.EVALUATION if run else Path()
    state, why = UP, f"{run_files.EVALUATION}, of these weights"
    if not run or not path.is_file():
        state, why = MISSING, "not evaluated yet"
    elif not run.is_done():
        state, why = MISSING, "once the run is done"
    elif _evaluated_weights(path) != run.weights:
        state, why = STALE, f"{run_files.EVALUATION} is of other weights"
    command = make_command.make("evaluate", run.make_words(served=False) if run else "")
    return Step("evaluation", state, why, command, ("training run",))


def _evaluated_weights(path: Path) -> object:
    try:
        return untrusted.read_json(path).get("weights_sha256")
    except (UsageError, OSError):
        return None


def artifact_step(run: FlowRun | None) -> Step:
    """The artifact: whole by its seal, and of the run's weights and data."""
    folder = run.directory / "artifact" if run else Path()
    model, seal = folder / "model.onnx", folder / "model.onnx.sha256"
    state, why = UP, "model.onnx, of these weights"
    if run and not run.is_done():
        state, why = MISSING, "once the run is done"
    elif not run or not (model.is_file() and seal.is_file()):
        state, why = MISSING, "not exported yet"
        if run and (missed := run.missed_budget()):
            budget_text = metrics.show_value(missed.column, missed.value, run.receipt)
            why = f"{run.show(missed.column)}, at {'least' if missed.is_least else 'most'} {budget_text} asked"
    elif problem := run_files.find_artifact_problem(run.directory, run.receipt):
        state, why = STALE, problem
    command = make_command.make("export", run.make_words() if run else "")
    return Step("artifact", state, why, command, ("training run",))


def server_image() -> str:
    """The name of the server's image."""
    return f"{project.name()}-serve"


def server_step(run: FlowRun | None, image: str, host: Host) -> Step:
    """The server's image, whose name tells what it is made from; an empty one where there is no artifact."""
    command = make_command.make("serve", run.make_words() if run else "")
    if not host.sees_images:
        state, (why, command) = UNKNOWN, flow_steps.no_engine(host)
    elif not image:
        state, why = MISSING, "no artifact yet"
    elif image in host.images:
        state, why = UP, image
    elif f"{server_image()}:latest" in host.images:
        state, why = STALE, "changed: the artifact, or the server's sources"
    else:
        state, why = MISSING, f"no {server_image()} yet"
    return Step("server image", state, why, command, ("artifact",))


def bundle_step(run: FlowRun | None, image: str | None) -> Step:
    """The bundle of this version and architecture: it tells which run is in it, and which image, by its id."""
    name = f"{project.name()}-{bundle.version()}-{ARCHITECTURES.get(platform.machine(), platform.machine())}"
    state, why = UP, f"dist/{name}"
    if not run or not (BUNDLES / name / "SHA256SUMS").is_file():
        state, why = MISSING, f"no dist/{name} yet"
    elif difference := _describe_difference(BUNDLES / name, run, image):
        state, why = STALE, f"dist/{name} is {difference}"
    elif not image:
        state, why = UNKNOWN, f"dist/{name}: no image to compare"
    command = make_command.make("ship", "KEY=~/samebench.key", run.make_words() if run else "")
    return Step("bundle", state, why, command, ("server image",))


def _describe_difference(folder: Path, run: FlowRun, image: str | None) -> str:
    """What in a bundle is not of this run, or not this image where one is given; empty where nothing is."""
    try:
        shipped = receipt.read(folder / "receipt.json")
        image_ids = sbom.image(untrusted.read_json(folder / "sbom.cdx.json"))
    except (UsageError, OSError, ValueError, LookupError, TypeError, AttributeError):
        return "not whole"
    if (shipped.get("run"), shipped.get("weights_sha256")) != (run.receipt.get("run"), run.weights):
        return f"of run {shipped.get('run')}"
    return "of another image" if image and f"sha256:{image.removeprefix('sha256:')}" not in image_ids else ""


def main(argv: Sequence[str]) -> None:
    """Look, print and draw."""
    about = "The steps from data to bundle: what is up to date, stale or missing, and what brings it up."
    question = flags.parse(Args, argv, program="python -m samebench.shipping.flow", about=about)
    result = steps(question, flow_steps.host(sys.stdin))
    flow_steps.show(result, as_json=question.json)


if __name__ == "__main__":
    command.run(main)
