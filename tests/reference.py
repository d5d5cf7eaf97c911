"""Packages that the server is compared with: those of tests/reference.lock, on top of the workspace's."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).with_suffix(".lock")
CACHE = LOCK.parents[1] / ".samebench"
INSTALL = ["uv", "pip", "install", "--no-config", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]


def environment() -> dict[str, str]:
    """Variables with which Python finds the packages; the first call installs them, by hash."""
    folder = CACHE / f"reference-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        incomplete = folder.with_suffix(".new")
        target = ["--python", sys.executable, "--target", str(incomplete), "--requirement", str(LOCK)]
        subprocess.run([*INSTALL, *target], check=True)
        incomplete.rename(folder)
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), str(LOCK.parents[1] / "src"), str(LOCK.parents[1])])
    }
