"""Our server against the plain way (FastAPI, torch, Pillow) and the least way (asyncio, onnxruntime, Pillow), in turns.

One process on one core each. Then ours alone with one and two workers on all cores, which the clients use as well.

make bench ARGS="serving --pairs 5"
"""

import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from tests import reference
from tests.samebench.server import free_port
from tests.serving.load import Request, crowd, memory

from apparel import data
from apparel.settings import Budgets
from samebench.core import command, flags
from samebench.core.command import RequirementError, UsageError
from samebench.environment import determinism
from samebench.runs.run import RUNS, Run
from samebench.serving import export, onnx_export, run_budgets
from samebench.serving.artifact import Artifact
from samebench.serving.samples import Sample

Kind = Callable[[Run, int], tuple[list[str], dict[str, str]]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    pairs: int = field(default=5, metadata={"help": "starts of each"})
    seconds: float = field(default=5.0, metadata={"help": "of each load"})

    def __post_init__(self) -> None:
        """Refuse what gives no spread."""
        if self.pairs < 2:
            raise UsageError(f"--pairs {self.pairs}: give 2 or more")


@dataclass(frozen=True)
class Figures:
    """Of one start of one server."""

    first: float  # seconds from the start to the first answer
    p50: float  # seconds, one client
    p99: float
    rate: float  # answers a second, 8 clients
    resident: int  # bytes afterwards


def ours(run: Run, port: int) -> tuple[list[str], dict[str, str]]:
    """The command and its variables."""
    variables = {"ARTIFACT": str(run.directory / "artifact"), "PORT": str(port)}
    return [sys.executable, "-m", "samebench.serving"], os.environ | variables


def plain(run: Run, port: int) -> tuple[list[str], dict[str, str]]:
    """The same for the plain way, at torch's own speed rather than at the pinned CPU level."""
    variables = {name: value for name, value in reference.environment().items() if name not in determinism.CPU_LEVEL}
    return [sys.executable, "-m", "benchmarks._plain_server", str(run.directory), str(port)], variables


def two_workers(run: Run, port: int) -> tuple[list[str], dict[str, str]]:
    """Ours with two workers."""
    words, variables = ours(run, port)
    return words, variables | {"WORKERS": "2"}


def floor(run: Run, port: int) -> tuple[list[str], dict[str, str]]:
    """The least way."""
    return [sys.executable, "-m", "benchmarks._floor_server", str(run.directory / "artifact"), str(port)], {
        **os.environ
    }


def measure(kind: Kind, run: Run, requests: list[Request], plan: Plan, *, cores: Collection[int]) -> Figures:
    """Start it on these cores, ask it, end it."""
    port = free_port()
    words, variables = kind(run, port)
    begun = time.monotonic()
    server = subprocess.Popen(
        words,
        env=variables,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509
    )
    try:
        while not asyncio.run(crowd(port, requests[:1], clients=1, seconds=0.001)).seconds:
            if server.poll() is not None or time.monotonic() > begun + 120:
                raise RequirementError(f"{' '.join(words)}: no answer; its messages are above")
            time.sleep(0.005)
        first = time.monotonic() - begun
        asyncio.run(crowd(port, requests, clients=1, seconds=1))
        alone = asyncio.run(crowd(port, requests, clients=1, seconds=plan.seconds))
        many = asyncio.run(crowd(port, requests, clients=8, seconds=plan.seconds))
        assert not (alone.wrong + many.wrong + alone.lost + many.lost), "both answer right"
        return Figures(first, alone.p(0.5), alone.p(0.99), many.statuses[200] / plan.seconds, memory(server.pid))
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def line(
    name: str,
    unit: str,
    scale: float,
    both: list[tuple[float, float]],
    *,
    names: str = "ours plain",
    inverse: bool = False,
) -> str:
    """Medians of both, and the ratio of a pair: the second to the first, or `inverse`."""
    first, second = (statistics.median(each) * scale for each in zip(*both, strict=True))
    first_name, second_name = names.split()
    ratios = [one / other if inverse else other / one for one, other in both]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    text = f"{first_name:<5} {first:8.2f} {unit:<4} {second_name:<5} {second:8.2f} {unit:<4}"
    return f"{name:<28} {text} ratio {statistics.median(ratios):5.2f} ({spread})"


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.serving", about=(__doc__ or "").split("\n")[0])
    determinism.reexecute(fast=False)
    determinism.pin()
    run = run_budgets.newest_within_budget(RUNS, Budgets())
    if not export.has_artifact(run):
        onnx_export.export(run, Budgets())
    artifact = Artifact.load(run.directory / "artifact")
    images = data.load(run.read_settings().data).test().images.squeeze(1).numpy()[:200]
    labels = [
        artifact.spec["labels"][place] for place in artifact.predict({"images": images})["probabilities"].argmax(1)
    ]
    bodies = [artifact.serving.sample_body(Sample("", {"images": image}, {}), artifact.spec) or b"" for image in images]
    requests = [Request(body, label) for body, label in zip(bodies, labels, strict=True)]
    every = os.sched_getaffinity(0)
    first, *others = sorted(every)
    kinds, numbers = [ours, floor, plain], [ours, two_workers]
    taken: dict[object, list[Figures]] = {kind: [] for kind in kinds}
    shared: dict[object, list[Figures]] = {kind: [] for kind in numbers}
    for _ in range(plan.pairs):
        os.sched_setaffinity(0, others or [first])
        for kind in kinds:
            taken[kind].append(measure(kind, run, requests, plan, cores=[first]))
        os.sched_setaffinity(0, every)
        for kind in numbers:
            shared[kind].append(measure(kind, run, requests, plan, cores=every))
        kinds.reverse()
        numbers.reverse()
    pairs = list(zip(taken[ours], taken[plain], strict=True))
    floors = list(zip(taken[floor], taken[ours], strict=True))
    workers = list(zip(shared[ours], shared[two_workers], strict=True))
    print(f"n = {plan.pairs} pairs, 28x28 PNG, one core each, {determinism.chip()}, load {os.getloadavg()[0]:.1f}")
    print(line("answers a second, 8 clients", "", 1, [(a.rate, b.rate) for a, b in pairs], inverse=True))
    print(line("p50, 1 client", "ms", 1000, [(a.p50, b.p50) for a, b in pairs]))
    print(line("p99, 1 client", "ms", 1000, [(a.p99, b.p99) for a, b in pairs]))
    print(line("first answer after start", "s", 1, [(a.first, b.first) for a, b in pairs]))
    print(line("resident memory", "MB", 1e-6, [(a.resident, b.resident) for a, b in pairs]))
    print(line("p50, 1 client", "ms", 1000, [(a.p50, b.p50) for a, b in floors], names="floor ours"))
    rates = [(a.rate, b.rate) for a, b in floors]
    print(line("answers a second, 8 clients", "", 1, rates, names="floor ours", inverse=True))
    rates = [(a.rate, b.rate) for a, b in workers]
    print(line(f"the same, {len(every)} cores for all", "", 1, rates, names="1 2"))


if __name__ == "__main__":
    command.run(main)
