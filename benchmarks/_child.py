"""What a Python program takes: seconds and memory."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

INTERVAL = 0.02  # seconds from one look at the memory to the next


class Usage(NamedTuple):
    """What a process took."""

    wall: float  # seconds
    cpu: float  # seconds, those of its children that it waited for with it
    megabytes: float  # the most anonymous memory of the process itself, in units of 10**6 bytes


def measure(words: Sequence[str], *, at: Path | None = None, variables: Mapping[str, str] | None = None) -> Usage:
    """Run Python with these words to its end. Raises AssertionError for an exit code other than 0."""
    start, most = time.monotonic(), 0
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=at,
        env={**os.environ, **(variables or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while True:
        most = max(most, _anonymous_bytes(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(INTERVAL)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"exit code {process.returncode}: {' '.join(words)}"
    return Usage(time.monotonic() - start, usage.ru_utime + usage.ru_stime, most / 1e6)


def _anonymous_bytes(process: int) -> int:
    """What it has of memory that belongs to no file; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))
