"""What the same bits cost: an epoch of ours, of ours with --fast, and of the plain way, in turns.

All train the default network on Fashion-MNIST on all cores, or with GPU=1 on one GPU.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from apparel import data
from samebench.core import flags
from samebench.environment import accelerator, cores, determinism
from samebench.settings import setting_field

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 55_000  # in an epoch


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much."""

    turns: int = setting_field(3, "how often each way trains")
    epochs: int = setting_field(1, "of each training; the accuracy compares from six on")


def started(words: Sequence[str], home: str) -> str:
    """What a program says that has torch's variables as they are by default."""
    unset = {name: value for name, value in os.environ.items() if name not in determinism.CPU_LEVEL}
    environment = unset | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=home, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def ours(asked: Asked, *words: str) -> tuple[dict[str, Any], list[float]]:
    """The receipt of a training of ours, and the seconds of its epochs."""
    with TemporaryDirectory() as home:
        started(["samebench.training", "--epochs", str(asked.epochs), "--data", str(data.HOME), *words], home)
        (path,) = Path(home).glob("runs/*/receipt.json")
        receipt = json.loads(path.read_text())
    return receipt, [epoch["seconds"] for epoch in receipt["history"]]


def plain(asked: Asked) -> tuple[dict[str, Any], list[float]]:
    """The same of the plain way."""
    device, count = "cuda" if accelerator.gpu_requested() else "cpu", str(cores.available_cpus())
    with TemporaryDirectory() as home:
        words = ["benchmarks._plain_training", str(data.HOME), str(asked.epochs), device, count]
        figures = json.loads(started(words, home))
    return figures, figures["seconds"]


def main() -> None:
    """Print images a second of each way, its ratio to the plain way, and what came out."""
    asked = flags.parse(Asked, sys.argv[1:], program="python -m benchmarks.training", about="Trainings, compared.")
    ways: dict[str, Callable[[], tuple[dict[str, Any], list[float]]]] = {
        "plain": lambda: plain(asked),
        "ours": lambda: ours(asked),
        "ours, FAST=1": lambda: ours(asked, "--fast"),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    receipts: dict[str, dict[str, Any]] = {}
    for _ in range(asked.turns):
        for name, way in ways.items():
            receipts[name], seconds = way()
            rates[name].append(IMAGES * asked.epochs / sum(seconds))
    gpu = receipts["ours"].get("gpu", {}).get("model")
    where = gpu or f"{determinism.chip()}, {cores.available_cpus()} cores, load {os.getloadavg()[1]:.1f}"
    print(f"epochs of the default network, n = {asked.turns} of {asked.epochs}, {where}, {platform.machine()}")
    for name, each in rates.items():
        ratio = statistics.median(own / other for own, other in zip(each, rates["plain"], strict=True))
        spread = f"{min(each):,.0f} to {max(each):,.0f}"
        speed = f"median {statistics.median(each):8,.0f} images a second ({spread})  ratio {ratio:.2f}"
        print(f"{name:<12} {speed}  test accuracy {receipts[name]['metrics']['test']['accuracy']:.2%}")


if __name__ == "__main__":
    main()
