"""Seconds and size of the workspace's image against those of a plain Dockerfile with the same packages.

    make bench RUNTIME=local ARGS="image_build --builds 3"

Builds of both, one after the other, in alternating order, without the engine's layers (--no-cache). The wheels are
there for both: each installer has its cache mount, which a first build has filled, and the wheelhouse is the same
folder. Both are exported with the same zstd. CPU seconds are those of dockerd and containerd with their children:
somebody else's build at the same time counts, too.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.samebench.checkout import copy_checkout, run

from benchmarks.image_size import ZSTD, sizes
from samebench.core import command, flags
from samebench.core.command import RequirementError, UsageError
from samebench.environment import determinism, torch_builds
from samebench.host import image

# As tutorials have it.
PLAIN = """
ARG BASE_IMAGE=debian:bookworm-slim
FROM scratch AS wheelhouse
FROM ${BASE_IMAGE}
ARG DEBIAN_PACKAGES
RUN apt-get update \\
    && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $DEBIAN_PACKAGES \\
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
ARG INDEX
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse --mount=type=cache,target=/root/.cache/pip \\
    --mount=type=secret,id=ca,target=/run/ca.pem \\
    if [ -e /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi; \\
    pip install --find-links /wheelhouse --extra-index-url "$INDEX" --requirement /tmp/requirements.txt
WORKDIR /workspace
"""
DEBIAN_PACKAGES = ("ca-certificates", "git", "make", "python3", "python3-venv")
PLAIN_TAG = "samebench-plain-workspace"
# What `make build` calls, with options of the engine.
OURS = """
import os, sys
from samebench.host import engine, image
from samebench.host.call import Call
call = Call.of(os.environ)
workspace = image.Image.of_workspace(call)
image.build(workspace, call, engine.choose("docker"), sys.argv[1:])
print(workspace.name)
"""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to measure."""

    builds: int = field(default=3, metadata={"help": "builds of each image"})

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        if self.builds < 1:
            raise UsageError(f"--builds {self.builds}: give 1 or more")


class Build(NamedTuple):
    """One build."""

    image: str
    seconds: float
    cpu_seconds: float


def engine_cpu_seconds() -> float:
    """CPU seconds of the engine's processes and of their children that have ended; 0 where they run elsewhere."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, fields = (folder / "stat").read_text().rpartition(")")
        except OSError:  # it has just ended
            continue
        if name.endswith(("(dockerd", "(containerd")):
            ticks += sum(map(int, fields.split()[11:15]))
    return ticks / TICKS


def build(words: Sequence[str], checkout: Path, *, stdin: str | None = None) -> Build:
    """Run a build. Raises RequirementError where it fails."""
    cpu, start = engine_cpu_seconds(), time.monotonic()
    done = subprocess.run(words, cwd=checkout, input=stdin, capture_output=True, text=True, env=os.environ)
    seconds = time.monotonic() - start
    if done.returncode:
        raise RequirementError(f"an image could not be built: {done.stderr[-500:]}")
    return Build(done.stdout.strip() or PLAIN_TAG, seconds, engine_cpu_seconds() - cpu)


def build_workspace(checkout: Path, *options: str) -> Build:
    """The workspace's image."""
    return build([sys.executable, "-c", OURS, *options], checkout)


def build_plain(checkout: Path, *options: str) -> Build:
    """The image of the plain Dockerfile, with the packages of the checkout's locks."""
    locks = "".join((checkout / name).read_text() for name in ("requirements.lock", "docker/cpu.lock"))
    pins = re.findall(r"^([a-zA-Z0-9][^ ]*==[^ ]+)(?: (;.*?))? \\$", locks, re.MULTILINE)
    context = checkout / "plain"
    context.mkdir(exist_ok=True)
    (context / "requirements.txt").write_text("".join(f"{pin} {marker}\n" for pin, marker in pins))
    packages = " ".join([*DEBIAN_PACKAGES, *image.debian_packages()])
    words = ["docker", "buildx", "build", "--provenance=false", "--output", ZSTD, *options]
    words += ["--tag", PLAIN_TAG, "--build-arg", f"DEBIAN_PACKAGES={packages}"]
    words += ["--build-arg", f"INDEX={torch_builds.torch_index()}"]
    if base := os.environ.get("BASE_IMAGE"):
        words += ["--build-arg", f"BASE_IMAGE={base}"]
    if wheels := os.environ.get("WHEELHOUSE") or os.environ.get("PIP_FIND_LINKS"):
        words += ["--build-context", f"wheelhouse={wheels}"]
    if authority := os.environ.get("CA_CERT") or os.environ.get("SSL_CERT_FILE"):
        words += ["--secret", f"id=ca,src={authority}"]
    return build([*words, "--file", "-", str(context)], checkout, stdin=PLAIN)


def line(name: str, builds: Sequence[Build]) -> None:
    """A line of figures."""
    seconds = [each.seconds for each in builds]
    cpu = statistics.median(each.cpu_seconds for each in builds)
    ends = f"{min(seconds):.1f} to {max(seconds):.1f}"
    print(f"{name:<6} median {statistics.median(seconds):6.1f} s  {ends:<16} CPU {cpu:6.1f} s")


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    plan = flags.parse(Plan, argv, program="python -m benchmarks.image_build", about=(__doc__ or "").split("\n")[0])
    if run(["docker", "info"], cwd=Path.cwd()).returncode:
        raise RequirementError("image_build builds images, and no docker engine answers here: RUNTIME=local")
    kinds: list[Callable[..., Build]] = [build_workspace, build_plain]
    builds: dict[Callable[..., Build], list[Build]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        checkout = copy_checkout(Path(folder) / "checkout")
        for _ in range(plan.builds + 1):  # the first is not counted: it fills the caches of the installers
            for kind in kinds:
                builds[kind].append(kind(checkout, "--no-cache"))
            kinds.reverse()
    print(f"n = {plan.builds}, {determinism.chip()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, kind in (("ours", build_workspace), ("plain", build_plain)):
        line(name, builds[kind][1:])
    for name, kind in (("ours", build_workspace), ("plain", build_plain)):
        unpacked, compressed = sizes(builds[kind][-1].image)
        print(f"{name:<6} unpacked {unpacked:7.1f} MB  compressed {compressed:6.1f} MB")
    print(f"{PLAIN_TAG} stays for notebook_start; remove it: docker image rm {PLAIN_TAG}")


if __name__ == "__main__":
    command.run(main)
