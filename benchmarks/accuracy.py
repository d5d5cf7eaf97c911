"""How soon the test images are right: ours, ours with --fast, and the well-known example, in turns.

Each training of ours goes to its end with its own number of epochs, and counts as a whole, from the start of the
program on, with validation, checkpoints and test. The example counts to the end of the epoch that reaches the accuracy.
"""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from apparel import data
from samebench.core import flags
from samebench.environment import cores, determinism
from samebench.settings import setting_field

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    seeds: int = setting_field(3, "seeds, from 0")
    low: float = setting_field(0.92, "the accuracy that the short trainings are for")
    high: float = setting_field(0.93, "the accuracy that the long ones are for")
    low_epochs: int = setting_field(3, "epochs of a short training of ours")
    high_epochs: int = setting_field(6, "epochs of a long one")
    example_epochs: int = setting_field(14, "epochs of the example")


class Figures(NamedTuple):
    """What a training took, and what came out."""

    cpu: float  # seconds
    wall: float
    test_accuracy: float


def run(words: Sequence[str], home: str) -> tuple[str, float, float]:
    """The output of a Python module with torch's variables as they are by default, its CPU seconds and its seconds."""
    variables = {name: value for name, value in os.environ.items() if name not in determinism.CPU_LEVEL}
    variables |= {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=home, env=variables, check=True, stdout=subprocess.PIPE, text=True
    )
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def train_ours(epochs: int, seed: int, *words: str) -> Figures:
    """A whole training of ours."""
    numbers = ["--epochs", str(epochs), "--seed", str(seed)]
    with TemporaryDirectory() as home:
        _, cpu, wall = run(["samebench.training", *numbers, "--data", str(data.HOME), *words], home)
        (path,) = Path(home).glob("runs/*/receipt.json")
        return Figures(cpu, wall, json.loads(path.read_text())["metrics"]["test"]["accuracy"])


def train_example(plan: Plan, seed: int) -> list[Figures]:
    """The figures after each epoch of the example."""
    with TemporaryDirectory() as home:
        words = [str(data.HOME), str(plan.example_epochs), str(seed), str(time.time())]
        output, _, _ = run(["benchmarks._mnist_example", *words], home)
    return [Figures(**json.loads(line)) for line in output.splitlines()]


def describe(name: str, results: Sequence[Figures]) -> str:
    """The means of a way, in a line."""
    cpu, wall, accuracy = (statistics.mean(each) for each in zip(*results, strict=True))
    return f"{name:<24} CPU {cpu:6.1f} s  wall {wall:6.1f} s  test accuracy {accuracy:.2%}"


def main() -> None:
    """Print what each way takes, and the ratio of its CPU seconds to those of the example."""
    plan = flags.parse(Plan, sys.argv[1:], program="python -m benchmarks.accuracy", about="Seconds to an accuracy.")
    results: dict[str, list[Figures]] = {}
    example: list[list[Figures]] = []
    for seed in range(plan.seeds):
        for epochs in (plan.low_epochs, plan.high_epochs):
            results.setdefault(f"ours, {epochs} epochs", []).append(train_ours(epochs, seed))
            results.setdefault(f"FAST=1, {epochs} epochs", []).append(train_ours(epochs, seed, "--fast"))
        example.append(train_example(plan, seed))
    where = f"{determinism.chip()}, {cores.available_cpus()} cores, load {os.getloadavg()[1]:.1f}, {platform.machine()}"
    print(f"mean of {plan.seeds} seeds, {where}")
    for name, figures in results.items():
        print(describe(name, figures))
    print(describe(f"example, {plan.example_epochs} epochs", [epochs[-1] for epochs in example]))
    for goal in (plan.low, plan.high):
        reached = [next((each for each in epochs if each.test_accuracy >= goal), None) for epochs in example]
        first = [each for each in reached if each]
        if len(first) == len(reached):
            print(describe(f"example, to {goal:.0%}", first))
        else:
            print(f"example, to {goal:.0%}: reached by {len(first)} of {len(reached)} seeds")


if __name__ == "__main__":
    main()
