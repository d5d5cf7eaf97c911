"""The command that trains again from a receipt, and compares the weights. If they differ, it names what has changed.

python -m samebench.training.reproduce --run runs/20261123-201500-abcd
python -m samebench.training.reproduce --quick
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.data.source import Source, default_name
from samebench.environment import determinism
from samebench.runs import receipt, records, run_files, train_command
from samebench.runs.run import RUNS, Run
from samebench.settings import TrainingSettings, setting_field


@dataclass(frozen=True, kw_only=True)
class ReproduceArgs:
    """Which run to repeat. Settings on the command line are changed inputs like any other."""

    run: str = setting_field("", "a run's directory or a receipt; empty: the newest that is done")
    quick: bool = setting_field(False, "the golden run instead: two epochs on a fifth of the data, its hash in git")


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
        check_golden_args(settings, args)
        determinism.reexecute(fast=False)
        from samebench.training import reproduction  # noqa: PLC0415 - torch is loaded here

        determinism.pin()
        code, message = reproduction.reproduce_golden(settings.data)
    else:
        old = find_receipt(args.run, source=settings.data)
        settings, _ = parse(defaults=asdict(Run(Path(args.run), old).read_settings()))
        determinism.reexecute(fast=settings.fast)
        from samebench.training import reproduction  # noqa: PLC0415 - torch is loaded here

        code, message = reproduction.train_again(settings, old)
    print(message)
    return code


if __name__ == "__main__":
    command.run(main)
