"""The size of the server's image against that of the plain way: Debian's Python, pip, torch, FastAPI, uvicorn, Pillow.

    make bench RUNTIME=local ARGS=image_size

Sizes of all files in a container, and of what is sent over the network, both compressed by the same zstd.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tests.samebench.checkout import ROOT, run
from tests.samebench.server import started

from samebench.core import command, flags
from samebench.core.command import RequirementError
from samebench.environment import torch_builds

# As tutorials have it, without a model. Its wheels are those that the locks name.
PLAIN = """
ARG BASE_IMAGE=debian:bookworm-slim
FROM scratch AS wheelhouse
FROM ${BASE_IMAGE}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \\
    && rm -rf /var/lib/apt/lists/*
ARG PACKAGES
ARG INDEX
RUN --mount=type=bind,from=wheelhouse,target=/wheelhouse --mount=type=secret,id=ca,target=/run/ca.pem \\
    if [ -e /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi; \\
    pip install --no-cache-dir --break-system-packages --find-links /wheelhouse --extra-index-url "$INDEX" $PACKAGES
COPY src /srv/src
"""
LOCKS = ("docker/cpu.lock", "docker/serve.lock", "tests/reference.lock", "requirements.lock")
PACKAGES = ("torch", "fastapi", "numpy", "pillow", "safetensors", "uvicorn")
ZSTD = "type=image,oci-mediatypes=true,compression=zstd,compression-level=3,force-compression=true"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Nothing to choose."""


def pinned(name: str) -> str:
    """The package in the version that a lock names."""
    for each in LOCKS:
        if found := re.search(rf"^{name}==([^ ]+)", (ROOT / each).read_text(), re.MULTILINE):
            return f"{name}=={found[1]}"
    raise AssertionError(f"{name} is in no lock")


def plain() -> str:
    """Build the image of the plain way; its name."""
    tag = "samebench-plain-server"
    words = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--output", ZSTD, "--tag", tag]
    arguments = {"PACKAGES": " ".join(map(pinned, PACKAGES)), "INDEX": torch_builds.torch_index()}
    if base := os.environ.get("BASE_IMAGE"):
        arguments["BASE_IMAGE"] = base
    for name, value in arguments.items():
        words += ["--build-arg", f"{name}={value}"]
    if wheels := os.environ.get("WHEELHOUSE") or os.environ.get("PIP_FIND_LINKS"):
        words += ["--build-context", f"wheelhouse={wheels}"]
    if authority := os.environ.get("CA_CERT") or os.environ.get("SSL_CERT_FILE"):
        words += ["--secret", f"id=ca,src={authority}"]
    done = subprocess.run([*words, "--file", "-", str(ROOT)], input=PLAIN, capture_output=True, text=True)
    if done.returncode:
        raise RequirementError(f"the plain image could not be built: {done.stderr[-500:]}")
    return tag


def ours() -> str:
    """The image that `make serve` builds and starts; its name."""
    with started("make", "serve", "RUNTIME=docker", at=ROOT) as server:
        told = ["docker", "ps", "--filter", f"publish={server.port}", "--format", "{{.Image}}"]
        return run(told, cwd=ROOT).stdout.strip()


def sizes(image: str) -> tuple[float, float]:
    """MB of all its files, and of its compressed layers."""
    du = ["docker", "run", "--rm", "--user", "0:0", "--entrypoint", "du", image]
    unpacked = run([*du, "-sx", "--apparent-size", "--block-size=1", "/"], cwd=ROOT).stdout.split()[0]
    saved = subprocess.run(f"docker save '{image}' | wc -c", shell=True, capture_output=True, text=True)  # noqa: S602
    return int(unpacked) / 1e6, int(saved.stdout) / 1e6


def main(argv: Sequence[str]) -> None:
    """Measure and print."""
    flags.parse(Plan, argv, program="python -m benchmarks.image_size", about=(__doc__ or "").split("\n")[0])
    if run(["docker", "info"], cwd=ROOT).returncode:
        raise RequirementError("image_size builds images, and no docker engine answers here: RUNTIME=local")
    both = [sizes(ours()), sizes(plain())]
    print(f"base {os.environ.get('BASE_IMAGE') or 'debian:bookworm-slim'}, {', '.join(map(pinned, PACKAGES))}")
    for name, (mine, other) in zip(("unpacked", "compressed"), zip(*both, strict=True), strict=True):
        print(f"{name:<12} ours {mine:7.1f} MB   plain {other:7.1f} MB   ratio {other / mine:4.1f}")


if __name__ == "__main__":
    command.run(main)
