"""What the server is held against: packages of tests/beside.lock, on top of the workspace's."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_suffix(".lock")
HOME = LOCK.parents[1] / ".samebench"


def environment() -> dict[str, str]:
    """Variables with which Python finds them too; they are installed, by hash, the first time."""
    place = HOME / f"beside-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not place.is_dir():
        fresh = place.with_suffix(".new")
        words = [
            "uv",
            "pip",
            "install",
            "--no-config",
            "--quiet",
            "--no-deps",
            "--require-hashes",
            "--only-binary",
            ":all:",
        ]
        subprocess.run(
            [*words, "--python", sys.executable, "--target", str(fresh), "--requirement", str(LOCK)], check=True
        )
        fresh.rename(place)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(place), str(LOCK.parents[1] / "src"), str(LOCK.parents[1])])
    }
