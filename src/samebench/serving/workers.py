"""Several processes that answer on one port. They are forked from one process that has loaded the artifact.

Each has a listening socket of its own at the same port (SO_REUSEPORT); the system deals connections out to them.
"""

import ctypes
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from samebench.core import command
from samebench.core.command import RequirementError
from samebench.serving.server import GRACE_SECONDS

STOP = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
END_SECONDS = GRACE_SECONDS + 3.0  # after which a worker that was told to stop is killed
PR_SET_PDEATHSIG = 1  # of Linux' prctl.h


def run_workers(count: int, run: Callable[[int], None], sockets: Sequence[socket.socket]) -> int:
    """Run `run(0)` to `run(count - 1)` in processes of their own until we are told to stop; the exit code.

    `sockets` are theirs: what comes to them must not wait for us.

    A server never goes on with fewer: raises RequirementError where one of them ends before it is told to.
    """
    signals = {each for each in STOP if signal.getsignal(each) != signal.SIG_IGN}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGCHLD})  # until `run` and we listen to them
    sys.stdout.flush()
    workers = {_fork(number, run): number for number in range(count)}
    for each in sockets:
        each.close()
    try:
        while signal.sigwait({*signals, signal.SIGCHLD}) == signal.SIGCHLD:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                raise RequirementError(
                    f"worker {workers.pop(pid) + 1} of {count} {how}, and the server with it; start it again"
                )
    finally:
        well = _end(workers)
    return command.DONE if well else command.NO


def _fork(number: int, run: Callable[[int], None]) -> int:
    parent = os.getpid()
    if pid := os.fork():
        return pid
    code = command.NO
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)  # no worker outlives the process that watches it
        if os.getppid() == parent:
            run(number)
        code = command.DONE
    except BaseException:  # noqa: BLE001 - nothing of a worker goes on in what its parent was about to do
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def _end(workers: Collection[int]) -> bool:
    """Tell these processes to stop, and wait for them; whether they all did so by themselves."""
    left, codes = set(workers), []
    for pid in left:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + END_SECONDS
    while left:
        if time.monotonic() > deadline:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        for pid in [*left]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                left.discard(pid)
                codes.append(status)
        if left:
            signal.sigtimedwait({signal.SIGCHLD}, 0.5)
    return not any(codes)
