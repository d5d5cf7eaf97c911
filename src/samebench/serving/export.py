"""The command that turns a run's model into an artifact.

python -m samebench.serving.export --run runs/20261123-201500-abcd
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from samebench import project
from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.environment import accelerator, determinism
from samebench.runs import records, run_files
from samebench.runs.run import RUNS, Run
from samebench.serving.artifact import Artifact
from samebench.serving.run_budgets import BudgetExceededError, check_existing_artifact, newest_within_budget
from samebench.settings import setting_field


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Which run to export, within which budgets."""

    run: str = setting_field("", "a run's directory; empty: the newest that is done and keeps the validation budgets")
    data: str = setting_field("", "empty: what the run was trained with")
    if_needed: bool = setting_field(False, "leave an artifact of these weights as it is")


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
    kinds = (project.budgets_class(), ExportArgs)
    budgets, args = flags.parse_all(kinds, argv, program="python -m samebench.serving.export", about=about)
    run = Run.open(records.folder(args.run)) if args.run else newest_within_budget(RUNS, budgets, data=args.data)
    run.refuse_undone()
    try:
        refuse_foreign_weights(run)
        if args.if_needed and (problem := run_files.find_artifact_problem(run.directory, run.receipt)):
            print(f"{run.artifact}: {problem}; it is exported anew", file=sys.stderr, flush=True)
        if args.if_needed and has_artifact(run):
            check_existing_artifact(run, budgets)
            print(f"{run.artifact}: there already")
            return command.DONE
        fast = run.read_settings().fast
        determinism.reexecute(fast=fast)
        from samebench.serving import onnx_export  # noqa: PLC0415 - torch is loaded here

        determinism.pin(fast=fast)
        accelerator.choose()  # refuses as everywhere; the graph itself is made on the CPU, and so the same either way
        print(onnx_export.export(run, budgets, source=args.data))
    except BudgetExceededError as exceeded:
        outcome = "its artifact is not taken" if args.if_needed and has_artifact(run) else "not exported"
        print(f"error: {run.directory}: {outcome}, {exceeded}", file=sys.stderr)
        return command.NO
    return command.DONE


if __name__ == "__main__":
    command.run(main)
