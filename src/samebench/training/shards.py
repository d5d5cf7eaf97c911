"""The gradients of a batch as the sum of a fixed number of shards, in a fixed order, by any number of workers.

Why: how a batch is split decides how its sum rounds. So the number of shards is a setting, and the machine decides only
which thread or process computes which shard.
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
    """Computes the gradients of a network over a batch in `count` parts; this process computes those of `local`.

    Each part has a replica of the network with its own buffers, such as the statistics of batch normalisation.
    """

    def __init__(self, network: nn.Module, replicas: list[nn.Module], *, count: int, group: ProcessGroup) -> None:
        """Take a replica for each part of this process."""
        self.network, self.replicas, self.count, self.group = network, replicas, count, group
        self.local = rank_slice(count, group)

    @abstractmethod
    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """Put the gradient of the mean loss into the network's parameters; return that loss, a scalar on their device.

        Frozen parameters get none.

        `loss` takes a network and the indices of a part, which are an equal share of `indices` (N,).
        """

    def buffers(self) -> list[Buffers]:
        """The buffers of every part. All processes call it together."""
        local = [dict(replica.named_buffers()) for replica in self.replicas]
        counts = split_evenly(self.count, size=self.group.size)
        stacks = {name: self.group.gather(torch.stack([part[name] for part in local]), counts) for name in local[0]}
        return [{name: stack[number] for name, stack in stacks.items()} for number in range(self.count)]

    def restore(self, buffers: list[Buffers]) -> None:
        """Load what `buffers` returned."""
        for replica, saved in zip(self.replicas, buffers[self.local], strict=True):
            for name, buffer in replica.named_buffers():
                buffer.copy_(saved[name])

    def merge(self) -> None:
        """Set the buffers of the network, which predictions use, to the mean of those of the parts."""
        buffers = self.buffers()
        for name, merged in self.network.named_buffers():
            parts = [part[name] for part in buffers]
            same = not merged.is_floating_point() or all(torch.equal(each, parts[0]) for each in parts)
            merged.copy_(parts[0] if same else _sum(parts) / len(parts))


class ShardedGradients(Gradients):
    """A fixed number of shards: the same bits for any number of threads and processes."""

    def __init__(
        self, network: nn.Module, *, count: int, pool: ThreadPoolExecutor, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        """The replicas share the network's parameters. There are at least as many shards as processes."""
        shared = {id(parameter): parameter for parameter in network.parameters()}
        replicas = [copy.deepcopy(network, dict(shared)) for _ in range(count)[rank_slice(count, group)]]
        super().__init__(network, replicas, count=count, group=group)
        self.pool = pool

    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """See Gradients. A parameter that the loss does not depend on has the gradient 0."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]

        def work(replica: nn.Module, part: Tensor) -> Tensor:
            value, weight = loss(replica.train(), part)
            gradients = torch.autograd.grad(value, parameters, materialize_grads=True)
            figures = (value.detach().reshape(1), weight.detach().reshape(1).to(value.dtype))
            return torch.cat([*(_channels_last(gradient).flatten() for gradient in gradients), *figures])

        rows = torch.stack(list(self.pool.map(work, self.replicas, indices.chunk(self.count)[self.local])))
        total = _sum(self.group.gather(rows, split_evenly(self.count, size=self.group.size)))
        sizes = [*(parameter.numel() for parameter in parameters), 1]
        *gradients, value = torch.split(total[:-1] / total[-1], sizes)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = _channels_first(gradient.view_as(_channels_last(parameter)))
        return value[0].clone()  # a view would keep all gradients


class DdpGradients(Gradients):
    """One part for each process, in the fastest order: torch sends some gradients while it computes others."""

    def __init__(self, network: nn.Module, *, group: ProcessGroup) -> None:
        """Wrap the network. The processes do not share its buffers."""
        super().__init__(network, [network], count=group.size, group=group)
        self.wrapped = DistributedDataParallel(network, forward_sync_buffers=False)

    def __call__(self, loss: Loss, indices: Tensor) -> Tensor:
        """See Gradients. Raises RuntimeError in the second step if the loss does not depend on a parameter."""
        self.network.zero_grad()
        (part,) = indices.chunk(self.count)[self.local]
        value, weight = loss(self.wrapped.train(), part)  # type: ignore[no-untyped-call]
        counts = [1] * self.count
        total = self.group.gather(weight.detach().reshape(1), counts).sum()
        (value * self.count / total).backward()  # type: ignore[no-untyped-call] # torch takes the mean over processes
        return self.group.gather(value.detach().reshape(1), counts).sum() / total


def _channels_last(tensor: Tensor) -> Tensor:
    """Channels last, as a convolution's weights: the optimizer is faster if gradients have the same format."""
    return tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor


def _channels_first(tensor: Tensor) -> Tensor:
    """The inverse of `_channels_last`."""
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def _sum(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    total = first.clone()
    for part in others:
        total += part
    return total


def worker_layout(shards: int, *, fast: bool, cores: int, group: ProcessGroup = SINGLE_PROCESS) -> tuple[int, int]:
    """The number of workers, and the cores of each: more than 1 only with `fast`, because it changes sums."""
    local_shards = 1 if fast and group.size > 1 else split_evenly(shards, size=group.size)[0]
    count = min(cores, local_shards)
    return count, cores // count if fast else 1


@contextmanager
def workers(count: int, *, cores: int = 1) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads, each with so many OpenMP threads as `cores`."""
    with ThreadPoolExecutor(count, "shard", initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        yield pool


def in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """The results of `work` in the order of `parts`."""
    return list(pool.map(work, parts))
