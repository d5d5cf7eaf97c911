"""The command that compares runs.

python -m samebench.training.compare --runs "20261123-201500-abcd runs/20261123-212935-cgzz"
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.environment import determinism
from samebench.runs import records
from samebench.runs.run import Run


@dataclass(frozen=True)
class Args:
    """Which runs to compare, on which data."""

    runs: str = field(default="", metadata={"help": "two or more runs, ids or directories, with spaces between"})
    data: str = field(default="", metadata={"help": "empty: what each run was trained with"})
    json: bool = field(default=False, metadata={"help": "one document instead of lines"})


def find(words: str) -> list[Run]:
    """The runs with these names. Raises UsageError for less than two, a duplicate, or a name of no run."""
    paths = [records.folder(word) for word in words.split()]
    duplicates = [str(path) for path in paths if sum(path.resolve() == other.resolve() for other in paths) > 1]
    if len(paths) < 2 or duplicates:
        problem = f"{duplicates[0]} is there twice" if duplicates else "too few"
        raise UsageError(f'RUNS={words}: {problem}; give two or more, such as RUNS="<id> <id>"')
    return [Run.open(path) for path in paths]


def main(argv: Sequence[str]) -> None:
    """Compare the runs that the flags name."""
    about = "Runs side by side: what differs, their curves, and whether one is better by more than chance."
    args = flags.parse(Args, argv, program="python -m samebench.training.compare", about=about)
    runs = find(args.runs)
    determinism.reexecute(fast=False)
    from samebench.training import comparison, figures  # noqa: PLC0415 - torch is loaded here

    determinism.pin()
    figures.use_style()
    print(comparison.compare(runs, source=args.data, as_json=args.json))


if __name__ == "__main__":
    command.run(main)
