"""Says in the terminal of `make notebook` that a kernel was killed, and why, before JupyterLab starts it again."""

import signal
import sys
from pathlib import Path
from typing import Any

from jupyter_client.ioloop.restarter import AsyncIOLoopKernelRestarter

# The kernel's counts of processes that it has killed for want of memory in this container: cgroup 2, cgroup 1.
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


class KernelRestarter(AsyncIOLoopKernelRestarter):
    """JupyterLab's restarter, with one line for a kernel that a signal has ended."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.out_of_memory = count_out_of_memory()

    def _fire_callbacks(self, event: str) -> None:
        process = getattr(self.kernel_manager.provisioner, "process", None)
        count = count_out_of_memory()
        if (
            event == "restart"
            and process is not None
            and (line := describe_end(process.poll(), count > self.out_of_memory))
        ):
            print(f"samebench: {line}", file=sys.stderr, flush=True)
        self.out_of_memory = count
        super()._fire_callbacks(event)


def describe_end(code: int | None, out_of_memory: bool) -> str:
    """One line on a kernel's process that has ended with `code`; empty where no signal has ended it."""
    if code is None or code >= 0:
        return ""
    name = signal.Signals(-code).name if -code in {int(each) for each in signal.Signals} else f"signal {-code}"
    if code == -signal.SIGKILL:
        cause = "memory ran out here" if out_of_memory else "most likely memory ran out on this machine"
        remedy = "hold less in it at once, shut down other kernels, or give the machine or the container more memory"
        return f"a kernel was killed ({name}): {cause}; its variables are lost, it starts again empty; {remedy}"
    return (
        f"a kernel crashed ({name}); its variables are lost, it starts again empty; python -X faulthandler says where"
    )


def count_out_of_memory() -> int:
    """How many processes were killed here for want of memory; 0 where the system does not say."""
    for path in COUNTERS:
        try:
            rows = dict(line.split(maxsplit=1) for line in path.read_text().splitlines())
            return int(rows["oom_kill"])
        except (OSError, LookupError, ValueError):
            continue
    return 0
