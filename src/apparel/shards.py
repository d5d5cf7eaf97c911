"""A batch as a fixed number of single-threaded shards, summed in a fixed order by any number of threads.

Why: the sum over a batch rounds differently for each way of cutting it up, so how it is cut up is a setting,
and only who works on which part is left to the machine.
"""

import copy
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from apparel.settings import Settings

T = TypeVar("T")
R = TypeVar("R")


class Shards:
    """Gradients of one network over the parts of a batch."""

    def __init__(self, network: nn.Module, *, count: int, pool: ThreadPoolExecutor) -> None:
        """Give each of `count` shards the network's own parameters and its own copy of the buffers.

        Each shard normalises with its own statistics, so no two threads write to the same buffer.
        """
        self._network = network
        self._pool = pool
        shared = {id(parameter): parameter for parameter in network.parameters()}
        self.replicas = [copy.deepcopy(network, dict(shared)) for _ in range(count)]

    def gradients(self, loss: Callable[[nn.Module, Tensor], Tensor], indices: Tensor) -> float:
        """Put the gradient of the mean loss into the network's parameters; return that loss.

        `loss` takes a network and a shard's indices, which are an equal part of `indices` (N,).
        """
        parameters = list(self._network.parameters())

        def work(replica: nn.Module, part: Tensor) -> tuple[float, tuple[Tensor, ...]]:
            value = loss(replica.train(), part)
            return float(value.detach()), torch.autograd.grad(value, parameters)

        done = list(self._pool.map(work, self.replicas, indices.chunk(len(self.replicas))))
        for parameter, *parts in zip(parameters, *(gradients for _, gradients in done), strict=True):
            parameter.grad = _sum(parts) / len(parts)
        return sum(value for value, _ in done) / len(done)

    def merge(self) -> None:
        """Give the network the mean of the shards' buffers: what it normalises with when it predicts."""
        buffers = [dict(replica.named_buffers()) for replica in self.replicas]
        for name, own in self._network.named_buffers():
            parts = [each[name] for each in buffers]
            own.copy_(_sum(parts) / len(parts) if own.is_floating_point() else parts[0])


def _sum(parts: list[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


def crew(settings: Settings, *, cores: int) -> tuple[int, int]:
    """How many workers, and with how many of all `cores` each: more than one only for --fast, as it changes sums."""
    count = min(cores, settings.shards)
    return count, cores // count if settings.fast else 1


@contextmanager
def workers(count: int, *, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads that each work with so many cores; the number of OpenMP threads is a thread's own setting."""
    with ThreadPoolExecutor(count, "shard", initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        yield pool


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """The results of `work` in the order of `parts`, whoever worked on which."""
    return list(pool.map(work, parts))
