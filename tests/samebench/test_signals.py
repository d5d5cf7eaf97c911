"""Ctrl-C and SIGTERM: the first one asks a program of ours to end, the second one ends it at once."""

import os
import signal
from pathlib import Path

import pytest

from samebench.core import command, signals
from tests.commands import call

TWICE = """
import os
from samebench.core import signals

signals.ECHO_SECONDS = {echo}
with signals.interruptible() as stopped:
    os.kill(os.getpid(), {number})
    print(stopped(), flush=True)
    os.kill(os.getpid(), {number})
    print("still here")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_only_asks_and_the_second_leaves_at_once(number: signal.Signals, tmp_path: Path) -> None:
    done = call("-c", TWICE.format(number=int(number), echo=0), at=tmp_path)
    assert done.stdout == "True\n"
    assert done.returncode == -number


def test_a_sigterm_that_comes_by_two_ways_is_one(tmp_path: Path) -> None:
    done = call("-c", TWICE.format(number=int(signal.SIGTERM), echo=60), at=tmp_path)
    assert (done.returncode, done.stdout) == (0, "True\nstill here\n")


def test_one_of_several_processes_is_asked_by_the_cluster_and_again_by_the_launcher(tmp_path: Path) -> None:
    line = TWICE.format(number=int(signal.SIGTERM), echo=0)
    done = call("-c", line, at=tmp_path, changes=dict.fromkeys(command.WORKER, "0"))
    assert done.stdout == "True\nstill here\n"
    assert done.returncode == 0


def test_the_handlers_that_were_there_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals.interruptible() as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped()
    assert signal.getsignal(signal.SIGINT) is before
