"""Files out of a Debian package, by its name alone and without root, where Debian's tools are at hand."""

import shutil
import subprocess
from pathlib import Path

from samebench.core.command import RequirementError

TOOLS = ("apt-get", "dpkg-deb")
MINUTES = 10


def extract(package: str, *, into: Path) -> Path:
    """Download `package` with apt from the machine's own sources and unpack it under the empty `into`.

    apt keeps its lists, cache and state in `into` and checks signatures as always. Returns the directory
    that stands for the package's root. Raises RequirementError where the tools or the package cannot be had.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise RequirementError(f"{package}: no {' and no '.join(missing)} on this machine; it takes a Debian or Ubuntu")
    folders = [into / name for name in ("lists/partial", "cache/archives/partial", "state", "log", "root")]
    for folder in folders:
        folder.mkdir(parents=True)
    status = into / "state/status"
    status.touch()
    apt = ["apt-get", "--quiet=2", *_own_directories(into, status)]
    _call([*apt, "update"], at=into, package=package)
    _call([*apt, "download", package], at=into, package=package)
    root = folders[-1]
    _call(["dpkg-deb", "--extract", str(next(into.glob("*.deb"))), str(root)], at=into, package=package)
    return root


def _own_directories(into: Path, status: Path) -> list[str]:
    options = {
        "Dir::State": into / "state",
        "Dir::State::lists": into / "lists",
        "Dir::State::status": status,
        "Dir::Cache": into / "cache",
        "Dir::Log": into / "log",
        "APT::Sandbox::User": "root",  # as root, apt would hand the work to a user who may not write here
        "Acquire::Languages": "none",
        "Acquire::Retries": 3,
    }
    return [word for name, value in options.items() for word in ("--option", f"{name}={value}")]


def _call(words: list[str], *, at: Path, package: str) -> None:
    try:
        result = subprocess.run(words, cwd=at, capture_output=True, text=True, timeout=60 * MINUTES, check=False)
    except subprocess.TimeoutExpired as slow:
        raise RequirementError(
            f"{package}: {words[0]} had not ended after {MINUTES} minutes; check the network"
        ) from slow
    if result.returncode != 0 or (words[0] == "apt-get" and words[-1] == package and not list(at.glob("*.deb"))):
        message = " ".join((result.stderr or result.stdout).split())[-300:]
        raise RequirementError(
            f"{package}: {words[0]} {words[-2] if words[-1] == package else words[-1]} failed: {message}"
        )
