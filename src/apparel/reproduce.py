"""Train again from a receipt, and say whether the weights are the same to the bit, or what has changed.

python -m apparel.reproduce --run runs/20261123-201500-abcd
python -m apparel.reproduce --quick
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from apparel import data, dataset, trial
from apparel.settings import Settings
from samebench.core import command, flags
from samebench.core.command import RequirementError, UsageError
from samebench.core.text import printable
from samebench.data.source import Source, is_generated
from samebench.environment import accelerator, determinism
from samebench.runs import receipt, records, run_files, train_command
from samebench.runs.run import RUNS, Run
from samebench.settings import setting_field, without_options
from samebench.training import initial
from samebench.training.train import PLACES, train

GOLDEN = Path(__file__).with_name("golden.sha256")
QUICK = Settings(epochs=2)
PART = 11_000  # images: a fifth of the training images


@dataclass(frozen=True, kw_only=True)
class ReproduceArgs(Settings):
    """Which run to repeat; a setting that is given is a changed input like any other."""

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
    promise = "; --fast promises no more" if now["settings"]["fast"] else ""
    machines = receipt.diff(then, now, fields=receipt.MACHINE) or ["nothing that the receipt tells"]
    return command.NO, "\n  ".join([f"{said}; no input has changed{promise}; the machines differ in:", *machines])


def reproduce_golden(question: ReproduceArgs) -> tuple[int, str]:
    """The same for the golden run, whose hash stands in git for each architecture, and each model of GPU.

    Only its data may lie elsewhere.

    Raises UsageError naming each other setting that was given.
    """
    usual = asdict(ReproduceArgs(quick=True, data=question.data))
    others = [f"{name}={value}" for name, value in asdict(question).items() if value != usual[name]]
    if is_generated(question.data) or dataset.is_own(question.data):
        others.append(f"data={question.data}")
    if others:
        remedy = f"the golden run's own settings stand; leave {'them' if others[1:] else 'it'} out"
        raise UsageError(f"--quick with {', '.join(others)}: {remedy}")
    gpu = accelerator.facts(accelerator.choose(QUICK.device)).get("gpu")
    architecture = "+".join([platform.machine(), *([gpu["model"].replace(" ", "-")] if gpu else [])])
    expected = data.listing(GOLDEN).get(architecture)
    got = trial.train(QUICK, trial.subset(data.load(question.data), images=PART)).model.digest()
    if not expected:
        raise RequirementError(f"{GOLDEN.name}: no golden hash for {architecture} yet; this machine's is {got}")
    if got == expected:
        return command.DONE, f"identical: golden weights {got}"
    return command.NO, f"not identical: golden weights {expected} for {architecture} in {GOLDEN.name}, {got} here"


def find_receipt(name: str, *, source: str = "") -> dict[str, Any]:
    """The receipt that `--run` names, or that of the newest run; on the data set `source`, if that is one's own.

    Raises UsageError where it is none, or of a run that is not done.
    """
    if not name:
        own = dataset.is_own(source)  # the default's name is there unasked
        name = str((Run.done(RUNS, data=source)[0] if own else Run.newest(RUNS, state="done")).directory)
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
    parse = partial(flags.parse, ReproduceArgs, argv, program="python -m apparel.reproduce", about="Train a run again.")
    question = parse()
    if question.quick:
        determinism.reexecute(fast=False)
        determinism.pin()
        code, said = reproduce_golden(question)
    else:
        then = find_receipt(question.run, source=question.data)
        question = parse(defaults=asdict(Run(Path(question.run), then).settings()))
        determinism.reexecute(fast=question.fast)
        if (told := then.get("init")) and question.init == then["settings"]["init"]:
            initial.reload_init_model(question.init, told)
        listing = f"listings.data/{Source.of(question.data).name}.sha256"
        now = {"listings": receipt.listings() if "listings" in then else None}
        for line in receipt.diff(then, now, fields=[listing]):
            print(f"{line}: the weights will be others; it trains nevertheless", flush=True)
        code, said = verdict(then, train(without_options(question, Settings), reproduces=then["run"]).receipt)
    print(said)
    return code


if __name__ == "__main__":
    command.run(main)
