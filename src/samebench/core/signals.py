"""What a program of ours does on Ctrl-C (SIGINT) and SIGTERM: it ends between two steps, with all that it has saved."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from samebench.core.command import WORKER

ECHO_SECONDS = 1.0  # in which one SIGTERM may come by two ways


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C or SIGTERM has come, so that work stops between two steps.

    The second Ctrl-C or SIGTERM leaves at once. Two SIGTERM in a moment are one: a cluster, systemd and `timeout` send
    it to all processes, and the host's side, or the engine's client, passes on its own. One of several processes stays
    in any case, as their launcher kills who takes too long. Outside the main thread, where Python handles no signals,
    the answer is always no.
    """
    signal_times: list[float] = []
    before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def handle_signal(number: int, _frame: FrameType | None) -> None:
        signal_times.append(time.monotonic())
        if os.environ.keys() >= WORKER:
            return
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if len(signal_times) > 1 and signal_times[-1] - signal_times[0] > ECHO_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    try:
        for each in (signal.SIGINT, signal.SIGTERM):
            before[each] = signal.signal(each, handle_signal)
    except ValueError:
        before.clear()
    try:
        yield lambda: bool(signal_times)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
