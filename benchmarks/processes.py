"""What several processes bring on one machine: the seconds of an epoch against those of one process with one thread.

Each way trains the default network for one epoch on Fashion-MNIST, in turns; the shards' gradients are gathered and
summed in their fixed order, but for --fast, which sums as torch does.
"""

import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from samebench.core import flags
from samebench.core.command import RequirementError
from samebench.settings import setting_field

SOURCE = Path(__file__).resolve().parents[1] / "src"
DATA = SOURCE.parent / "data/fashion-mnist"
WAYS: dict[str, tuple[int, dict[str, str], list[str]]] = {
    "1 process, 1 thread": (1, {}, []),
    "1 process, 2 threads": (2, {}, []),
    "2 processes, 1 thread each": (2, {"PROCS": "2"}, []),
    "1 process, 2 threads, fast": (2, {}, ["--fast"]),
    "2 processes, fast": (2, {"PROCS": "2"}, ["--fast"]),
}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much."""

    turns: int = setting_field(3, "how often each way trains")


def epoch(cores: int, variables: dict[str, str], words: list[str]) -> float:
    """The seconds of one epoch on so many cores."""
    own = sorted(os.sched_getaffinity(0))[:cores]
    if len(own) < cores:
        raise RequirementError(f"{len(own)} cores, the benchmark needs {cores}; take a larger machine")
    with TemporaryDirectory() as home:
        command = ["taskset", "--cpu-list", ",".join(map(str, own)), sys.executable, "-m", "samebench.training"]
        command += ["--epochs", "1", "--data", str(DATA), *words]
        environment = {**os.environ, "PYTHONPATH": str(SOURCE), **variables}
        subprocess.run(command, cwd=home, env=environment, check=True, capture_output=True)
        (path,) = Path(home).glob("runs/*/receipt.json")
        return float(json.loads(path.read_text())["history"][0]["seconds"])


def main() -> None:
    """Print the median of each way, and its ratio to the first."""
    asked = flags.parse(Asked, sys.argv[1:], program="python -m benchmarks.processes", about="Epochs, compared.")
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(asked.turns):
        for name, way in WAYS.items():
            took[name].append(epoch(*way))
    first = took[next(iter(WAYS))]
    print(f"one epoch of the default network, n = {asked.turns}, load {os.getloadavg()[1]:.1f}")
    for name, seconds in took.items():
        ratio = statistics.median(one / own for one, own in zip(first, seconds, strict=True))
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        print(f"{name:<28} median {statistics.median(seconds):5.1f} s ({spread})  {ratio:.2f}x as fast")


if __name__ == "__main__":
    main()
