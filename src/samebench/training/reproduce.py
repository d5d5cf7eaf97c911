"""Train again from a receipt, and say whether the weights are the same to the bit, or what has changed.

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
from samebench.training import initial, operators, trial
from samebench.training.train import PLACES, train

GOLDEN = "golden.sha256"  # of a project: the hash for each architecture, and each model of GPU
PROMISES = {
    operators.THIS_MACHINE: "; its receipt promises the same bits on one model of machine",
    operators.NONE: "; its receipt promises no same bits",
}
GOLDEN_EPOCHS, GOLDEN_PART = 2, 5  # it is trained on one example in five


@dataclass(frozen=True, kw_only=True)
class ReproduceArgs:
    """Which run to repeat. A setting that is given is a changed input like any other."""

    run: str = setting_field("", "a run's directory or a receipt; empty: the newest that is done")
    quick: bool = setting_field(False, "the golden run instead: two epochs on a fifth of the data, its hash in git")


def verdict(then: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[int, str]:
    """The exit code and what to say about a receipt and that of its repetition."""
    before, after = then["weights_sha256"], now["weights_sha256"]
    # --fast lifts the CPU level itself: named once is enough.
    levels = ("cpu_level",) if then["settings"].get("fast") != now["settings"]["fast"] else ()
    changed = receipt.diff(then, now, exclude=[*PLACES, *levels])
    for each in then.get("resumed", []):
        changed += [f"in its middle, after step {each['step']}: {printable(line)}" for line in each["changed"]]
    if before == after:
        also = "".join(f"\n  changed without effect: {line}" for line in changed)
        return command.DONE, f"identical: weights {after}{also}"
    said = f"not identical: weights {before} then, {after} now"
    if changed:
        return command.NO, "\n  ".join([f"{said}; changed since:", *changed])
    promise = "; --fast promises no more" if now["settings"]["fast"] else PROMISES.get(then.get("same_bits", ""), "")
    machines = receipt.diff(then, now, fields=receipt.MACHINE) or ["nothing that the receipt tells"]
    return command.NO, "\n  ".join([f"{said}; no input has changed{promise}; the machines differ in:", *machines])


def reproduce_golden(data_name: str) -> tuple[int, str]:
    """The same for the golden run, whose hash is in git for each architecture, and each model of GPU."""
    task, settings = project.task(), project.settings_class()(epochs=GOLDEN_EPOCHS)
    gpu = accelerator.facts(accelerator.choose(settings.device)).get("gpu")
    architecture = "+".join([platform.machine(), *([gpu["model"].replace(" ", "-")] if gpu else [])])
    path = golden_path()
    expected = listing.read(path).get(architecture) if path.is_file() else None
    data = task.load_data(data_name)
    part = task.subset(data, len(data.training) // GOLDEN_PART)
    got = trial.train(settings, part).model.digest()
    if not expected:
        raise RequirementError(f"{path.name}: no golden hash for {architecture} yet; this machine's is {got}")
    if got == expected:
        return command.DONE, f"identical: golden weights {got}"
    return command.NO, f"not identical: golden weights {expected} for {architecture} in {path.name}, {got} here"


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
    """The receipt that `--run` names, or that of the newest run; on the data set `source`, if that is one's own.

    Raises UsageError where it is none, or of a run that is not done.
    """
    if not name:
        own = source and Source.of(source).name != default_name()  # the default's name is there unasked
        name = str((Run.list_done(RUNS, data=source)[0] if own else Run.newest(RUNS, state="done")).directory)
    path = records.folder(name)
    path = path / "receipt.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: not there; give RUN=runs/<id> or RUN=<receipt>")
    found = receipt.read(path)
    receipt.check(found, path)
    if (path.parent / run_files.WEIGHTS).is_file() and (problem := run_files.find_weights_problem(path.parent, found)):
        raise UsageError(
            f"{path.parent / run_files.WEIGHTS}: {problem}; take the run, or its receipt, from where it was trained"
        )
    if problem := run_files.find_uncommitted_problem(path.parent, found):
        raise UsageError(f"{path.parent}: {problem}; take the run, or its receipt, from where it was trained")
    if found["state"] != "done":
        is_run = (path.parent / "checkpoints").is_dir()
        remedy = "finish it" + (
            f": {train_command.make_resume_command(path.parent, found)}" if is_run else " where it was trained"
        )
        raise UsageError(f"{path}: {found['state']}, so there are no weights to compare; {remedy}")
    return found


def main(argv: Sequence[str]) -> int:
    """Repeat the run asked for, or the golden one; 0 if the weights are identical, 1 if not."""
    kinds = (project.settings_class(), ReproduceArgs)
    parse = partial(
        flags.parse_all, kinds, argv, program="python -m samebench.training.reproduce", about="Train a run again."
    )
    settings, args = parse()
    if args.quick:
        determinism.reexecute(fast=False)
        determinism.pin()
        check_golden_args(settings, args)
        code, said = reproduce_golden(settings.data)
    else:
        then = find_receipt(args.run, source=settings.data)
        settings, _ = parse(defaults=asdict(Run(Path(args.run), then).settings()))
        determinism.reexecute(fast=settings.fast)
        if (told := then.get("init")) and settings.init == then["settings"]["init"]:
            initial.reload_init_model(settings.init, told)
        data_listing = f"listings.data/{Source.of(settings.data).name}.sha256"
        now = {"listings": receipt.listings() if "listings" in then else None}
        for line in receipt.diff(then, now, fields=[data_listing]):
            print(f"{line}: the weights will be others; it trains nevertheless", flush=True)
        code, said = verdict(then, train(settings, reproduces=then["run"]).receipt)
    print(said)
    return code


if __name__ == "__main__":
    command.run(main)
