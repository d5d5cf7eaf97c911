"""Runs the benchmarks, each in a process of its own.

python -m benchmarks                    all of them
python -m benchmarks NAME [FLAG…]       one, with its flags
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from samebench.core import command
from samebench.core.command import UsageError

NAMES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def main(argv: Sequence[str]) -> int:
    """The command line; the highest exit code of those that ran."""
    if argv and argv[0] not in NAMES:
        raise UsageError(f"{argv[0]}: no such benchmark; there are {', '.join(NAMES)}")
    chosen = [list(argv)] if argv else [[name] for name in NAMES]
    codes = [subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags]).returncode for name, *flags in chosen]
    return max(codes)


if __name__ == "__main__":
    command.run(main)
