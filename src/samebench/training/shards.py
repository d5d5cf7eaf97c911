"""A batch as a fixed number of single-threaded shards, summed in a fixed order by any number of threads and processes.

Why: the sum over a batch rounds differently for each way of cutting it up, so how it is cut up is a setting,
and only who works on which part is left to the machine.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from samebench.training.process_group import SINGLE_PROCESS, ProcessGroup, rank_slice, split_evenly

T = TypeVar("T")
R = TypeVar("R")
Loss = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]  # the sum over examples, and the sum of their weights
Buffers = dict[str, Tensor]


class Gradients(ABC):
    """How the gradients of one network over a batch come about: in `count` parts, those of `mine` in this process.

    Each part normalises with its own statistics, so that no two write to the same buffer.
    """

    def __init__(self, network: nn.Module, replicas: list[nn.Module], *, count: int, group: ProcessGroup) -> None:
        """Take a replica for each part that is this process's."""
        self.network, self.replicas, self.count, self.group = network, replicas, count, group
        self.mine = rank_slice(count, group)

    @abstractmethod
    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """Put the gradient of the mean loss into the network's parameters; return that loss, a scalar on their device.

        Frozen parameters get none. One that the loss does not depend on has the gradient 0.

        `loss` takes a network and the indices of a part, which are an equal share of `indices` (N,).
        """

    def buffers(self) -> list[Buffers]:
        """The buffers of every part, those of other processes too."""
        own_ones = [dict(replica.named_buffers()) for replica in self.replicas]
        counts = split_evenly(self.count, size=self.group.size)
        rows = {name: self.group.gather(torch.stack([each[name] for each in own_ones]), counts) for name in own_ones[0]}
        return [{name: each[place] for name, each in rows.items()} for place in range(self.count)]

    def restore(self, buffers: list[Buffers]) -> None:
        """Have what `buffers` gave, once for each part."""
        for replica, saved in zip(self.replicas, buffers[self.mine], strict=True):
            for name, buffer in replica.named_buffers():
                buffer.copy_(saved[name])

    def merge(self) -> None:
        """Give the network the mean of the parts' buffers: what it normalises with when it predicts."""
        buffers = self.buffers()
        for name, merged in self.network.named_buffers():
            parts = [each[name] for each in buffers]
            merged.copy_(_sum(parts) / len(parts) if merged.is_floating_point() else parts[0])


class ShardedGradients(Gradients):
    """In shards whose number is a setting: the same bits, whoever works on which."""

    def __init__(
        self, network: nn.Module, *, count: int, pool: ThreadPoolExecutor, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        """Give each shard the network's own parameters; there are no more processes than shards."""
        shared = {id(parameter): parameter for parameter in network.parameters()}
        replicas = [copy.deepcopy(network, dict(shared)) for _ in range(count)[rank_slice(count, group)]]
        super().__init__(network, replicas, count=count, group=group)
        self.pool = pool

    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """See Gradients."""
        parameters = [each for each in self.network.parameters() if each.requires_grad]

        def work(replica: nn.Module, part: Tensor) -> Tensor:
            value, weight = loss(replica.train(), part)
            gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
            figures = (value.detach().reshape(1), weight.detach().reshape(1).to(value.dtype))
            return torch.cat([*(_inner(gradient).flatten() for gradient in gradients), *figures])

        done = torch.stack(list(self.pool.map(work, self.replicas, indices.chunk(self.count)[self.mine])))
        everyone = self.group.gather(done, split_evenly(self.count, size=self.group.size))
        sizes = [*(each.numel() for each in parameters), 1]
        total = _sum(everyone)
        *gradients, value = torch.split(total[:-1] / total[-1], sizes)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = _outer(gradient.view_as(_inner(parameter)))
        return value[0].clone()  # a view would keep all gradients


class DdpGradients(Gradients):
    """In one part a process, summed in the order that is quickest: torch sends some while it computes others."""

    def __init__(self, network: nn.Module, *, group: ProcessGroup) -> None:
        """Wrap the network; what its buffers hold stays each process's own."""
        super().__init__(network, [network], count=group.size, group=group)
        self.wrapped = DistributedDataParallel(network, forward_sync_buffers=False)

    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """See Gradients."""
        self.network.zero_grad()
        (part,) = indices.chunk(self.count)[self.mine]
        value, weight = loss(self.wrapped.train(), part)  # type: ignore[no-untyped-call]
        each = [1] * self.count
        total = self.group.gather(weight.detach().reshape(1), each).sum()
        (value * self.count / total).backward()  # type: ignore[no-untyped-call] # torch takes the mean over processes
        return self.group.gather(value.detach().reshape(1), each).sum() / total


def _inner(tensor: Tensor) -> Tensor:
    """With the channels last, as a convolution's weights lie: the optimizer is quicker where its gradient does, too."""
    return tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor


def _outer(tensor: Tensor) -> Tensor:
    """What `_inner` was given."""
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _sum(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    total = first.clone()
    for part in others:
        total += part
    return total


def worker_layout(shards: int, *, fast: bool, cores: int, group: ProcessGroup = SINGLE_PROCESS) -> tuple[int, int]:
    """How many workers, and with how many of all `cores` each: more than one only for --fast, as it changes sums."""
    own_shards = 1 if fast and group.size > 1 else split_evenly(shards, size=group.size)[0]
    count = min(cores, own_shards)
    return count, cores // count if fast else 1


@contextmanager
def workers(count: int, *, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads that each work with so many cores; the number of OpenMP threads is a thread's own setting."""
    with ThreadPoolExecutor(count, "shard", initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        yield pool


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """The results of `work` in the order of `parts`, whoever worked on which."""
    return list(pool.map(work, parts))
