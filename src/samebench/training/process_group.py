"""The processes that work on one result together, as torchrun started them; where it did not, this one alone."""

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

RENDEZVOUS_DIR = (
    "SAMEBENCH_MEETING"  # the folder where the processes of one machine find each other, in place of a port
)
LINGER_SECONDS = 1.0  # seconds that the one who ended first has to be heard first
PATIENCE = timedelta(minutes=10)  # for the others to come to the same point
# How gloo, NCCL and the stores tell of a process or machine that can't be reached; else it is a mistake of ours.
PEER_LOST = re.compile(
    r"connection (closed|reset|refused|was likely closed)|timed out|time-?out|broken pipe|socket closed"
    r"|no route to host|network is unreachable|remote process exited|exit of a remote peer|communicator was aborted",
    re.IGNORECASE,
)


class PeerLostError(Interrupted):
    """One of the others has ended, or can't be reached any more; which of them says why."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among `size` with ranks from 0, on as many machines as there are with `local_size` each.

    What they do together all of them must do, in the same order. Where one has ended, it raises PeerLostError.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    job: str = ""  # the same name after a restart; empty where nobody gave one
    launcher: int = 0  # the process that started us

    @property
    def is_rank_zero(self) -> bool:
        """Whether this is the one that writes and speaks for all."""
        return self.rank == 0

    @property
    def nnodes(self) -> int:
        """How many machines they are on, with as many processes each."""
        return self.size // self.local_size

    @property
    def launcher_died(self) -> bool:
        """Whether the launcher has been killed, and nobody waits for what we do."""
        return self.launcher not in {0, os.getppid()}

    def any_rank(self, *answers: bool) -> list[bool]:
        """For each question whether one of them says yes."""
        if self.size == 1:
            return list(answers)
        counts = torch.tensor(answers, dtype=torch.int32)
        with _peer_errors(self.local_rank):
            torch.distributed.all_reduce(counts)
        return [bool(count) for count in counts.tolist()]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """All rows in the order of the ranks, of which each has so many: (counts[rank], ...) to (sum(counts), ...)."""
        if self.size == 1:
            return rows
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        everyone = [torch.empty_like(padded) for _ in counts]
        with _peer_errors(self.local_rank):
            torch.distributed.all_gather(everyone, padded)
        return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])

    def broadcast_json(self, value: Any) -> Any:
        """What the leader has to say, as JSON holds it; no pickle, whoever listens."""
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
        """Go on when all are here."""
        self.any_rank(False)

    @contextmanager
    def one_on_each_machine_first(self) -> Iterator[None]:
        """Let one process of each machine do it, and then the others."""
        if self.local_rank:
            self.barrier()
        yield
        if not self.local_rank:
            self.barrier()


SINGLE_PROCESS = ProcessGroup()


def split_evenly(count: int, *, size: int) -> list[int]:
    """How many of `count` things each of `size` processes has: as equal as can be, the first ones have more."""
    return [(count + size - 1 - rank) // size for rank in range(size)]


def rank_slice(count: int, group: ProcessGroup) -> slice:
    """Which of `count` things are this process's."""
    counts = split_evenly(count, size=group.size)
    begin = sum(counts[: group.rank])
    return slice(begin, begin + counts[group.rank])


@contextmanager
def join_process_group(*, cuda: bool = False, job: str = "") -> Iterator[ProcessGroup]:
    """Join the others that torchrun has started, and leave them at the end; without it the only one, of this `job`.

    Raises PeerLostError.
    """
    if not os.environ.keys() >= WORKER:
        yield ProcessGroup(job=job)
        return
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    job = os.environ["TORCHELASTIC_RUN_ID"]
    meeting = os.environ.get(RENDEZVOUS_DIR)
    if meeting:
        meeting = f"file://{meeting}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    with _peer_errors(local_rank):
        torch.distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo", init_method=meeting, rank=rank, world_size=size, timeout=PATIENCE
        )
    # Who ends by an exception stays for the others until its process is gone, and has been heard by then.
    yield ProcessGroup(rank, size, local_rank, local_size, "" if job == "none" else job, os.getppid())
    with suppress(RuntimeError):
        torch.distributed.destroy_process_group()


@contextmanager
def _peer_errors(local_rank: int) -> Iterator[None]:
    try:
        yield
    except torch.AcceleratorError:
        raise  # our own GPU, of which this was the first to ask
    except RuntimeError as error:
        if not is_peer_lost(error):
            raise
        reason = re.sub(r"^\[.*?\] |\. .*", "", str(error).splitlines()[0])
        time.sleep(LINGER_SECONDS)
        raise PeerLostError("" if local_rank else f"lost the other processes ({reason})") from error


def is_peer_lost(error: RuntimeError) -> bool:
    """Whether a collective failed because of another process or the network, not by what it was given."""
    network = (torch.distributed.DistNetworkError, torch.distributed.DistStoreError)
    return isinstance(error, network) or bool(PEER_LOST.search(str(error)))
