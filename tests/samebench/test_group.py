"""Real processes, started by torchrun."""

import itertools
import os
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from samebench.core import command
from samebench.training import process_group
from samebench.training.process_group import PeerLostError, ProcessGroup
from tests import commands
from tests.samebench.checkout import ROOT

PLACES = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "PYTHONWARNINGS": None}


def together(*words: str, at: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return commands.call("-m", "tests.samebench.group_program", *words, at=at, changes=PLACES | variables)


@pytest.mark.parametrize(("size", "shares"), [(1, [4]), (2, [2, 2]), (3, [2, 1, 1]), (5, [1, 1, 1, 1, 0])])
def test_things_are_shared_as_equally_as_can_be_in_their_order(size: int, shares: list[int]) -> None:
    assert process_group.split_evenly(4, size=size) == shares
    own = [list(range(4))[process_group.rank_slice(4, ProcessGroup(rank, size))] for rank in range(size)]
    assert [*itertools.chain(*own)] == [0, 1, 2, 3]
    assert [len(each) for each in own] == shares


def test_three_processes_hear_and_give_the_same(tmp_path: Path) -> None:
    done = together(at=tmp_path, PROCS="3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == str(
        {"any": [True, False], "gathered": [0, 1, 2, 3, 4], "told": {"by": 0}, "size": [3, 3, 1, True]}
    ) + "\n"  # fmt: skip


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("Connection closed by peer"), PeerLostError),
        (
            RuntimeError("[/pair.cc:537] Read error [127.0.0.1]:1: Connection reset by peer. This is typically"),
            PeerLostError,
        ),
        (RuntimeError("[/buffer.cc:74] Timed out waiting 3000ms for recv operation to complete"), PeerLostError),
        (torch.distributed.DistNetworkError("failed to recv, got 0 bytes"), PeerLostError),
        (torch.distributed.DistStoreError("wait timeout after 1000ms, keys: /0"), PeerLostError),
        (
            torch.distributed.DistBackendError("NCCL error in: a.cpp:1, remote process exited or there was"),
            PeerLostError,
        ),
        (
            torch.distributed.DistBackendError("NCCL error in: a.cpp:1, invalid usage"),
            torch.distributed.DistBackendError,
        ),
        (RuntimeError("Invalid scalar type"), RuntimeError),
        (ValueError("a mistake of ours"), ValueError),
        (torch.AcceleratorError("CUDA error: launch failure"), torch.AcceleratorError),
    ],
)
def test_only_a_lost_peer_is_taken_for_one(
    error: Exception, told: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_reduce(_: object) -> None:
        raise error

    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    monkeypatch.setattr(process_group, "LINGER_SECONDS", 0)
    with pytest.raises(told) as raised:
        ProcessGroup(0, 2, 0, 2).any_rank(False)
    assert type(raised.value) is told


def test_alone_the_same_words_work_without_torchrun(tmp_path: Path) -> None:
    assert "'gathered': [0, 1, 2, 3, 4]" in together(at=tmp_path).stdout


def test_the_traceback_of_one_comes_first_and_the_others_end_at_once(tmp_path: Path) -> None:
    done = together("fail", "1", at=tmp_path, PROCS="3")
    assert done.returncode == 1
    assert done.stderr.startswith("[rank1]: Traceback")
    assert "RuntimeError: a mistake of ours" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "killed" not in done.stderr


@pytest.mark.parametrize("way", ["kind", "shape"])
def test_a_mistake_in_what_they_do_together_is_not_a_lost_process(way: str, tmp_path: Path) -> None:
    done = together(way, "1", at=tmp_path, PROCS="2")
    assert done.returncode == 1, done.stderr


def test_the_exit_code_is_that_of_the_one_that_ended_first(tmp_path: Path) -> None:
    done = together("refuse", "2", at=tmp_path, PROCS="3")
    assert done.returncode == 2
    assert "error: not this one" in done.stderr


@pytest.mark.parametrize(
    ("ending", "code"), [("UsageError('no')", 2), ("RequirementError('no')", 3), ("KeyError('no')", 1)]
)
def test_one_of_several_processes_keeps_its_exit_code_whatever_its_threads_do_at_the_end(
    ending: str, code: int, tmp_path: Path
) -> None:
    program = f"""
import atexit, os
from samebench.core.command import RequirementError, UsageError, run
atexit.register(os.abort)  # as gloo's threads do at times
def main(argv): raise {ending}
run(main)
"""
    done = commands.call("-c", program, at=tmp_path, changes=PLACES | dict.fromkeys(command.WORKER, "0"))
    assert done.returncode == code
    assert "no" in done.stderr


def free_port() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return str(taken.getsockname()[1])


def test_two_machines_meet_at_an_address_whichever_is_there_first(tmp_path: Path) -> None:
    port = free_port()
    both = [
        commands.start(
            "-m",
            "tests.samebench.group_program",
            at=tmp_path,
            changes=PLACES
            | {"NNODES": "2", "NODE_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PROCS": "1"}
            | {"GLOO_SOCKET_IFNAME": "lo"},
        )
        for rank in ("1", "0")
    ]
    said = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert "'size': [2, 1, 2, True]" in "".join(out for out, _ in said)


@pytest.mark.parametrize(
    ("machine", "address", "reason"),
    [("1", "127.0.0.1", "Connection refused"), ("1", "nowhere.invalid", ""), ("0", "nowhere.invalid", "")],
)
def test_an_address_where_nobody_is_ends_in_one_line(machine: str, address: str, reason: str, tmp_path: Path) -> None:
    port = free_port()
    wrong = {"NNODES": "2", "NODE_RANK": machine, "MASTER_ADDR": address, "MASTER_PORT": port}
    done = together(at=tmp_path, JOIN_TIMEOUT="2", **wrong)
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: MASTER_ADDR={address}, MASTER_PORT={port}, NNODES=2: ")
    assert reason in line


def test_machines_that_never_come_end_the_wait_in_one_line(tmp_path: Path) -> None:
    alone = {"NNODES": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    done = together(at=tmp_path, JOIN_TIMEOUT="2", **alone)
    assert done.returncode == 3
    assert "did not find each other within 2 s" in done.stderr
    assert len(done.stderr.splitlines()) == 1
