"""Train again from a receipt, and compare the weights. If they differ, say what has changed.

python -m samebench.training.reproduce --run runs/20261123-201500-abcd
python -m samebench.training.reproduce --quick
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import command, flags
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.data import listing
from samebench.data.source import Source, default_name
from samebench.environment import accelerator, determinism
from samebench.runs import receipt, records, run_files, train_command
from samebench.runs.run import RUNS, Run
from samebench.settings import TrainingSettings, setting_field
from samebench.training import initial_models, operators, trial
from samebench.training.train import PLACES, train

GOLDEN = "golden.sha256"  # a file of the project: the hash for each architecture and each model of GPU
PROMISES = {
    operators.THIS_MACHINE: "; its receipt promises the same bits on one model of machine",
    operators.NONE: "; its receipt promises no same bits",
}
GOLDEN_EPOCHS, GOLDEN_PART = 2, 5  # it is trained on one example in five


@dataclass(frozen=True, kw_only=True)
class ReproduceArgs:
    """Which run to repeat. Settings on the command line are changed inputs like any other."""

    run: str = setting_field("", "a run's directory or a receipt; empty: the newest that is done")
    quick: bool = setting_field(False, "the golden run instead: two epochs on a fifth of the data, its hash in git")


def verdict(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code and the message for a receipt and that of its repetition."""
    old_weights, new_weights = old["weights_sha256"], new["weights_sha256"]
    # --fast changes the CPU level itself: one line is enough.
    levels = ("cpu_level",) if old["settings"].get("fast") != new["settings"]["fast"] else ()
    changed = receipt.diff(old, new, exclude=[*PLACES, *levels])
    for entry in old.get("resumed", []):
        changed += [f"in its middle, after step {entry['step']}: {printable(line)}" for line in entry["changed"]]
    if old_weights == new_weights:
        harmless = "".join(f"\n  changed without effect: {line}" for line in changed)
        return command.DONE, f"identical: weights {new_weights}{harmless}"
    title = f"not identical: weights {old_weights} then, {new_weights} now"
    if changed:
        return command.NO, "\n  ".join([f"{title}; changed since:", *changed])
    promise = "; --fast promises no more" if new["settings"]["fast"] else PROMISES.get(old.get("same_bits", ""), "")
    machines = receipt.diff(old, new, fields=receipt.MACHINE) or ["nothing that the receipt tells"]
    return command.NO, "\n  ".join([f"{title}; no input has changed{promise}; the machines differ in:", *machines])


def reproduce_golden(data_name: str) -> tuple[int, str]:
    """Train the golden run, and return the exit code and the message: git has its hash for each architecture."""
    task, settings = project.task(), project.settings_class()(epochs=GOLDEN_EPOCHS)
    gpu = accelerator.facts(accelerator.choose(settings.device)).get("gpu")
    architecture = "+".join([platform.machine(), *([gpu["model"].replace(" ", "-")] if gpu else [])])
    path = golden_path()
    expected = listing.read(path).get(architecture) if path.is_file() else None
    data = task.load_data(data_name)
    part = task.subset(data, len(data.training) // GOLDEN_PART)
    actual = trial.train(settings, part).model.digest()
    if not expected:
        raise RequirementError(f"{path.name}: no golden hash for {architecture} yet; this machine's is {actual}")
    if actual == expected:
        return command.DONE, f"identical: golden weights {actual}"
    return command.NO, f"not identical: golden weights {expected} for {architecture} in {path.name}, {actual} here"


def check_golden_args(settings: TrainingSettings, args: ReproduceArgs) -> None:
    """Raise UsageError naming each flag that changes the golden run: only its data may be in a different place."""
    values = {**asdict(args), **asdict(settings)}
    defaults = {**asdict(ReproduceArgs(quick=True)), **asdict(project.settings_class()(data=settings.data))}
    others = [f"{name}={value}" for name, value in values.items() if value != defaults[name]]
    source = Source.of(settings.data)
    if source.is_known() and source.name != default_name():
        others.append(f"data={settings.data}")
    if others:
        remedy = f"the golden run's own settings stand; leave {'them' if others[1:] else 'it'} out"
        raise UsageError(f"--quick with {', '.join(others)}: {remedy}")


def golden_path() -> Path:
    """The file in git with the hash of the project's golden run on each architecture."""
    return ROOT / "src" / project.name() / GOLDEN


def find_receipt(name: str, *, source: str = "") -> dict[str, Any]:
    """The receipt that `--run` names, or that of the newest run, on the data set `source` if it is not the default.

    Raises UsageError if it is no receipt, or of a run that is not done.
    """
    if not name:
        has_data = source and Source.of(source).name != default_name()  # the default is there without a flag
        run = Run.list_done(RUNS, data=source)[0] if has_data else Run.newest(RUNS, state="done")
        name = str(run.directory)
    path = records.folder(name)
    path = path / "receipt.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: not there; give RUN=runs/<id> or RUN=<receipt>")
    result, directory = receipt.read(path), path.parent
    receipt.check(result, path)
    remedy = "take the run, or its receipt, from where it was trained"
    weights = directory / run_files.WEIGHTS
    if weights.is_file() and (problem := run_files.find_weights_problem(directory, result)):
        raise UsageError(f"{weights}: {problem}; {remedy}")
    if problem := run_files.find_uncommitted_problem(directory, result):
        raise UsageError(f"{directory}: {problem}; {remedy}")
    if (state := result["state"]) != "done":
        is_run = (directory / "checkpoints").is_dir()
        how = f": {train_command.make_resume_command(directory, result)}" if is_run else " where it was trained"
        raise UsageError(f"{path}: {state}, so there are no weights to compare; finish it{how}")
    return result


def main(argv: Sequence[str]) -> int:
    """Repeat the run that the flags name, or the golden one; 0 if the weights are identical, 1 if not."""
    kinds = (project.settings_class(), ReproduceArgs)
    parse = partial(
        flags.parse_all, kinds, argv, program="python -m samebench.training.reproduce", about="Train a run again."
    )
    settings, args = parse()
    if args.quick:
        determinism.reexecute(fast=False)
        determinism.pin()
        check_golden_args(settings, args)
        code, message = reproduce_golden(settings.data)
    else:
        old = find_receipt(args.run, source=settings.data)
        settings, _ = parse(defaults=asdict(Run(Path(args.run), old).read_settings()))
        determinism.reexecute(fast=settings.fast)
        if (init := old.get("init")) and settings.init == old["settings"]["init"]:
            initial_models.reload_init_model(settings.init, init)
        data_listing = f"listings.data/{Source.of(settings.data).name}.sha256"
        new = {"listings": receipt.listings() if "listings" in old else None}
        for line in receipt.diff(old, new, fields=[data_listing]):
            print(f"{line}: the weights will be others; it trains nevertheless", flush=True)
        code, message = verdict(old, train(settings, reproduces=old["run"]).receipt)
    print(message)
    return code


if __name__ == "__main__":
    command.run(main)
