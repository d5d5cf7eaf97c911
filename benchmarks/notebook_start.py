"""How long `make notebook` takes in the container to its first 200 of /api/status, against the plain way.

    make bench RUNTIME=local ARGS="notebook_start --pairs 10"

The plain way is `docker run` of the image that `image_build` leaves, with the same packages; without that image it is
JupyterLab started bare. Pairs of both, one after the other, in alternating order; both images are there.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.samebench.checkout import copy_checkout, run
from tests.samebench.server import started

from benchmarks.image_build import PLAIN_TAG
from samebench.core import command, flags, local_server
from samebench.core.command import RequirementError, UsageError
from samebench.environment import determinism
from samebench.workspace import notebook


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    pairs: int = field(default=10, metadata={"help": "starts of each"})

    def __post_init__(self) -> None:
        """Refuse what gives no spread."""
        if self.pairs < 2:
            raise UsageError(f"--pairs {self.pairs}: give 2 or more")


def until_open(port: int, token: str) -> None:
    """Waits for the first 200."""
    while local_server.answer(f"http://127.0.0.1:{port}/api/status", headers=notebook.authorization(token)) != 200:
        time.sleep(0.02)


def start_workspace(checkout: Path) -> float:
    """Seconds from `make notebook` to the first 200; the token is known when the link is."""
    start = time.monotonic()
    with started("make", "notebook", "RUNTIME=docker", at=checkout) as server:
        until_open(server.port, server.token)
        return time.monotonic() - start


def start_bare(checkout: Path) -> float:
    """The same for `jupyter lab` in the environment that runs this."""
    port, token = local_server.address(9000)[1], local_server.secret()
    with tempfile.TemporaryDirectory() as home:
        words = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}"]
        start = time.monotonic()
        server = subprocess.Popen(
            words, cwd=checkout, env=os.environ | {"JUPYTER_TOKEN": token, "HOME": home}, stderr=subprocess.DEVNULL
        )
        until_open(port, token)
        seconds = time.monotonic() - start
        server.terminate()
        server.wait()
    return seconds


def start_plain(checkout: Path) -> float:
    """The same for `docker run … jupyter lab` in the image of a plain Dockerfile."""
    port, token = local_server.address(9000)[1], local_server.secret()
    words = ["docker", "run", "--rm", "--name", PLAIN_TAG, "--publish", f"127.0.0.1:{port}:8888"]
    words += ["--volume", f"{checkout}:/workspace", "--env", f"JUPYTER_TOKEN={token}", PLAIN_TAG]
    words += ["jupyter", "lab", "--no-browser", "--allow-root", "--ip", "0.0.0.0"]  # noqa: S104 - of the container
    start = time.monotonic()
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until_open(port, token)
    seconds = time.monotonic() - start
    run(["docker", "stop", "--time", "1", PLAIN_TAG], cwd=checkout)
    server.wait()
    return seconds


def spread(name: str, seconds: Sequence[float]) -> str:
    """A line of figures."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    ends = f"range {min(seconds):.2f} to {max(seconds):.2f}"
    return f"{name:<24} median {middle:5.2f} s  quartiles {low:.2f} to {high:.2f}  {ends}"


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.notebook_start", about=(__doc__ or "").split("\n")[0])
    with tempfile.TemporaryDirectory() as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        run(["git", "init", "--quiet"], cwd=checkout)  # so that the hooks are seen to, as in everybody's clone
        built = run(["make", "build", "RUNTIME=docker"], cwd=checkout, timeout=1800)
        if built.returncode:
            raise RequirementError(f"notebook_start compares with the container: {built.stderr.splitlines()[-2]}")
        has_plain = not run(["docker", "image", "inspect", PLAIN_TAG], cwd=checkout).returncode
        start_other = start_plain if has_plain else start_bare
        kinds: list[Callable[[Path], float]] = [start_workspace, start_other]
        for kind in kinds:
            kind(checkout)  # once, for the caches of both
        seconds: dict[Callable[[Path], float], list[float]] = {kind: [] for kind in kinds}
        for _ in range(plan.pairs):
            for kind in kinds:
                seconds[kind].append(kind(checkout))
            kinds.reverse()
    print(
        f"to the first 200 of /api/status, n = {plan.pairs} pairs, {determinism.chip()}, {os.cpu_count()} cores,",
        end=" ",
    )
    print(f"load {os.getloadavg()[0]:.1f}")
    print(spread("make notebook, docker", seconds[start_workspace]))
    print(spread("docker run, plain image" if has_plain else "jupyter lab, bare", seconds[start_other]))
    ratios = [one / two for one, two in zip(seconds[start_workspace], seconds[start_other], strict=True)]
    print(
        f"ratio of a pair          median {statistics.median(ratios):.2f}  range {min(ratios):.2f} to {max(ratios):.2f}"
    )


if __name__ == "__main__":
    command.run(main)
