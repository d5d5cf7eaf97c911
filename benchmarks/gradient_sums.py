"""What the fixed order of sums costs: gathering every shard's gradients and adding them up, against gloo's all-reduce.

Processes of one thread each on one machine, with gradients of the default network's size, in turns. The all-reduce
sums one gradient a process, as --fast has it; the gather brings all four shards' to everyone.
"""

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import distributed

from apparel import data
from apparel.settings import Settings
from apparel.task import TASK
from samebench.core import flags
from samebench.settings import setting_field
from samebench.training.model import build_network
from samebench.training.process_group import ProcessGroup, split_evenly

COUNT = Settings().shards


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much."""

    processes: int = setting_field(2, "how many processes, at most as many as there are shards")
    turns: int = setting_field(200, "sums of each way")


def timed(rank: int, asked: Asked, meeting: str) -> None:
    """Join the others, sum both ways in turns; the first process prints the medians."""
    torch.set_num_threads(1)
    size = asked.processes
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
    length = sum(each.numel() for each in build_network(TASK, Settings(), data.synthetic(0).spec).parameters())
    group, counts = ProcessGroup(rank, size, rank, size), split_evenly(COUNT, size=size)
    shards, whole = torch.rand(counts[rank], length), torch.rand(length)
    took: dict[str, list[float]] = {"gather and sum": [], "all-reduce": []}
    for _ in range(asked.turns):
        group.barrier()
        begun = time.perf_counter()
        group.gather(shards, counts).sum(0)
        between = time.perf_counter()
        distributed.all_reduce(whole)
        took["all-reduce"].append(time.perf_counter() - between)
        took["gather and sum"].append(between - begun)
    distributed.destroy_process_group()
    if not rank:
        conditions = f"n = {asked.turns}, load {os.getloadavg()[0]:.1f}"
        print(f"{size} processes, {length:,} gradients of {COUNT} shards, {conditions}")
        for name, seconds in took.items():
            low, median, high = (1000 * each for each in statistics.quantiles(seconds, n=4))
            print(f"{name:<16} median {median:5.2f} ms  quartiles {low:.2f} to {high:.2f}")


def main() -> None:
    """Start the processes."""
    asked = flags.parse(Asked, sys.argv[1:], program="python -m benchmarks.gradient_sums", about="Sums, compared.")
    with tempfile.TemporaryDirectory() as home:
        meeting, spawn = str(Path(home) / "meeting"), multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(asked.processes, spawn) as pool:
            for started in [pool.submit(timed, rank, asked, meeting) for rank in range(asked.processes)]:
                started.result()


if __name__ == "__main__":
    main()
