"""How long `make runs` takes to list fifty runs, as a user waits for it where the workspace is; the budget is 1 s."""

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.samebench.checkout import copy_checkout
from tests.samebench.recorded import write_run

from samebench.core import command, flags
from samebench.core.command import UsageError
from samebench.environment import determinism
from samebench.runs import notes

RUNS = 50
BUDGET = 1.0  # seconds


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    times: int = field(default=20, metadata={"help": "listings"})

    def __post_init__(self) -> None:
        """Refuse what gives no spread."""
        if self.times < 2:
            raise UsageError(f"--times {self.times}: give 2 or more")


def listing(checkout: Path) -> float:
    """Seconds of one `make runs`, where there is no runtime to enter."""
    begun = time.monotonic()
    words = ["make", "runs"]
    done = subprocess.run(
        words, cwd=checkout, env=os.environ | {"SAMEBENCH": "1", "PYTHONPATH": "src"}, capture_output=True
    )
    took = time.monotonic() - begun
    assert (done.returncode, len(done.stdout.splitlines())) == (0, RUNS + 2), done.stderr
    return took


def main(argv: Sequence[str]) -> int:
    """Measure and print; 1 where the median is over the budget."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.listing", about=(__doc__ or "").split("\n")[0])
    with tempfile.TemporaryDirectory() as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        for number in range(RUNS):
            notes.add(write_run(checkout / "runs", number, settings={"seed": number}).directory, f"seed {number}")
        listing(checkout)  # once, for the caches
        took = [listing(checkout) for _ in range(plan.times)]
    middle = statistics.median(took)
    print(f"make runs with {RUNS} runs, n = {plan.times}, {determinism.chip()}, load {os.getloadavg()[0]:.1f}")
    print(f"median {middle:.2f} s  range {min(took):.2f} to {max(took):.2f}  budget {BUDGET:.2f}")
    return command.DONE if middle <= BUDGET else command.NO


if __name__ == "__main__":
    command.run(main)
