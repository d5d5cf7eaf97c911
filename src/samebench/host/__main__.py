"""Runs a command in the runtime: `python3 -I src/samebench/host …`, as main.py says."""

import sys
from pathlib import Path

if sys.version_info < (3, 9):
    sys.exit(
        "samebench: this python3 is older than 3.9; put a newer one first on PATH, then run the same command again"
    )

sys.path[0] = str(Path(__file__).resolve().parents[2])  # in place of this folder: our modules have a package's names

from samebench.host import main  # noqa: E402 - the path comes first

main.start(sys.argv[1:])
