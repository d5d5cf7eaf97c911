"""The processes that torchrun has started for one training; without torchrun a group of one."""

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor

from samebench.core.command import WORKER, Interrupted

RENDEZVOUS_DIR = "SAMEBENCH_MEETING"  # a folder for the rendezvous of one machine's processes, instead of a port
LINGER_SECONDS = 1.0  # so that the process that failed first prints first
TIMEOUT = timedelta(minutes=10)  # of a collective method
# The messages of gloo, NCCL and the stores for a lost process or machine. Any other error is a mistake of ours.
PEER_LOST = re.compile(
    r"connection (closed|reset|refused|was likely closed)|timed out|time-?out|broken pipe|socket closed"
    r"|no route to host|network is unreachable|remote process exited|exit of a remote peer|communicator was aborted",
    re.IGNORECASE,
)


class PeerLostError(Interrupted):
    """A process of the group has ended or can't be reached. That process prints the reason."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among `size`, with `local_size` on each machine.

    All of them must call the same collective methods in the same order. These raise PeerLostError if one is lost.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    job: str = ""  # the name of the job, which stays the same after a restart; may be empty
    launcher: int = 0  # the process id of torchrun

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the process that writes and prints for all."""
        return self.rank == 0

    @property
    def nnodes(self) -> int:
        """The number of machines."""
        return self.size // self.local_size

    @property
    def launcher_died(self) -> bool:
        """Whether torchrun has been killed."""
        return self.launcher not in {0, os.getppid()}

    def any_rank(self, *flags: bool) -> list[bool]:
        """For each flag whether it is true in any process."""
        if self.size == 1:
            return list(flags)
        counts = torch.tensor(flags, dtype=torch.int32)
        with _peer_errors(self.local_rank):
            torch.distributed.all_reduce(counts)
        return [bool(count) for count in counts.tolist()]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all processes in the order of the ranks: (counts[rank], ...) to (sum(counts), ...)."""
        if self.size == 1:
            return rows
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with _peer_errors(self.local_rank):
            torch.distributed.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    def broadcast_json(self, value: Any) -> Any:
        """The value of rank 0, sent as JSON: unpickling could run code."""
        if self.size == 1:
            return value
        payload = json.dumps(value).encode() if self.is_rank_zero else b""
        length = torch.tensor([len(payload)])
        with _peer_errors(self.local_rank):
            torch.distributed.broadcast(length, src=0)
            content = torch.frombuffer(bytearray(payload), dtype=torch.uint8) if payload else torch.empty(0)
            content = content if self.is_rank_zero else torch.empty(int(length), dtype=torch.uint8)
            torch.distributed.broadcast(content, src=0)
        return json.loads(content.numpy().tobytes())

    def barrier(self) -> None:
        """Wait for all processes."""
        self.any_rank(False)

    @contextmanager
    def one_on_each_machine_first(self) -> Iterator[None]:
        """Run the block in one process of each machine first, then in the others."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()


SINGLE_PROCESS = ProcessGroup()


def split_evenly(count: int, *, size: int) -> list[int]:
    """How many of `count` items each of `size` processes has. They differ by at most one, the first have more."""
    return [(count + size - 1 - rank) // size for rank in range(size)]


def rank_slice(count: int, group: ProcessGroup) -> slice:
    """Which of `count` items this process has."""
    counts = split_evenly(count, size=group.size)
    begin = sum(counts[: group.rank])
    return slice(begin, begin + counts[group.rank])


@contextmanager
def join_process_group(*, cuda: bool = False, job: str = "") -> Iterator[ProcessGroup]:
    """The group that torchrun has started, until the end of the block; without torchrun this process, with `job`.

    Raises PeerLostError.
    """
    if not os.environ.keys() >= WORKER:
        yield ProcessGroup(job=job)
        return
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    job = os.environ["TORCHELASTIC_RUN_ID"]
    url = os.environ.get(RENDEZVOUS_DIR)
    if url:
        url = f"file://{url}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    with _peer_errors(local_rank):
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", init_method=url, rank=rank, world_size=size, timeout=TIMEOUT
        )
    # After an exception the group stays until the process ends: it prints its error before the others lose it.
    yield ProcessGroup(rank, size, local_rank, local_size, "" if job == "none" else job, os.getppid())
    with suppress(RuntimeError):
        torch.distributed.destroy_process_group()


@contextmanager
def _peer_errors(local_rank: int) -> Iterator[None]:
    try:
        yield
    except torch.AcceleratorError:
        raise  # an earlier error of this process's GPU, which only this call reports
    except RuntimeError as error:
        if not is_peer_lost(error):
            raise
        reason = re.sub(r"^\[.*?\] |\. .*", "", str(error).splitlines()[0])
        time.sleep(LINGER_SECONDS)
        raise PeerLostError("" if local_rank else f"lost the other processes ({reason})") from error


def is_peer_lost(error: RuntimeError) -> bool:
    """Whether a collective failed because of a different process or the network."""
    network = (torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, network) or bool(PEER_LOST.search(str(error)))
