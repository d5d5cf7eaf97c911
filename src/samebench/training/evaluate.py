"""The command that evaluates a run on the test data.

python -m samebench.training.evaluate --run runs/20261123-201500-abcd
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from samebench.core import command, flags
from samebench.environment import determinism
from samebench.runs import records
from samebench.runs.run import RUNS, Run


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which run to evaluate, on which data."""

    run: str = field(default="", metadata={"help": "a run's directory; empty: the newest that is done"})
    data: str = field(default="", metadata={"help": "empty: what the run was trained with"})


def main(argv: Sequence[str]) -> None:
    """Evaluate the run that the flags name, or the newest that is done."""
    about = "The metrics of a run on the test data."
    args = flags.parse(Args, argv, program="python -m samebench.training.evaluate", about=about)
    run = Run.open(records.folder(args.run)) if args.run else Run.list_done(RUNS, data=args.data)[0]
    run.refuse_undone()
    fast = run.read_settings().fast
    determinism.reexecute(fast=fast)
    from samebench.training import run_evaluation  # noqa: PLC0415 - torch is loaded here

    determinism.pin(fast=fast)
    print(run_evaluation.evaluate_run(run, source=args.data))


if __name__ == "__main__":
    command.run(main)
