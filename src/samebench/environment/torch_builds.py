"""Packages whose wheels are compiled against torch: one build goes with CUDA's torch, another with the CPU's.

The Python index has the builds for CUDA, and for macOS. PyTorch's own index has those for the CPU on Linux, whose
version ends in `+cpu`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from samebench.core import files
from samebench.core.command import RequirementError, UsageError
from samebench.environment import package_index
from samebench.environment.package_index import File

CPU_SUFFIX = "+cpu"
ARCHITECTURES = ("x86_64", "aarch64")
# Compiled against torch, but their wheels do not say that they need it.
SILENT = {"fbgemm-gpu", "torchao", "torchaudio", "torchcodec", "torchtext", "torchvision"}


def torch_index() -> str:
    """The index of torch's CPU builds: `TORCH_INDEX`, or the default, which `install.sh` names."""
    default = re.search(r"TORCH_INDEX:=([^}]+)}", Path(__file__).with_name("install.sh").read_text())
    assert default, "install.sh names no default for TORCH_INDEX"
    return (os.environ.get("TORCH_INDEX") or default[1]).rstrip("/")


def find_compiled(
    pins: Mapping[str, tuple[str, tuple[str, ...]]], dependents: Iterable[str], *, python: str
) -> list[str]:
    """The names in `pins` whose Linux wheels are compiled against torch; `dependents` are those that need torch.

    Raises RequirementError if the Python index does not answer.
    """
    names = []
    for name in sorted({*dependents, *SILENT} & pins.keys()):
        wheel = package_index.wheel(package_index.files(package_index.address(), name), pins[name][1], python=python)
        if wheel and not wheel.is_pure():
            names.append(name)
    return names


def cpu_build(pin: str, *, python: str, needed_by: Iterable[str] = ()) -> tuple[str, tuple[str, ...]]:
    """The pin and the hashes of the CPU build of `pin` ("name==version") for Linux on both architectures.

    The wheelhouse is asked first, then PyTorch's index.

    Raises:
        RequirementError: the index does not answer.
        UsageError: there is no such wheel for one of the architectures.
    """
    cpu_pin = pin + CPU_SUFFIX
    name, _, version = cpu_pin.partition("==")
    why = f" (needed by {', '.join(sorted(needed_by))})" if needed_by else ""
    hashes = _hashes(package_index.wheelhouse(), name, version, python)
    index = torch_index()
    if len(hashes) < len(ARCHITECTURES):
        try:
            offered = package_index.files(index, name)
        except RequirementError as error:
            raise RequirementError(
                f"{pin}{why} is compiled against torch, and its CPU build {cpu_pin} can't be locked: {error}; "
                "set TORCH_INDEX to a mirror of it, or WHEELHOUSE to a folder with the wheels for x86_64 and aarch64"
            ) from error
        hashes = _hashes(offered, name, version, python) | hashes
    if len(hashes) != len(ARCHITECTURES):
        raise UsageError(
            f"{index} has {len(hashes)} Linux wheels of {cpu_pin} for Python {python}{why}, "
            f"not {len(ARCHITECTURES)}; ask for a version that it has for torch's version here"
        )
    return cpu_pin, tuple(sorted(f"sha256:{value}" for value in hashes.values()))


def _hashes(offered: Iterable[File], name: str, version: str, python: str) -> dict[str, str]:
    """The SHA-256 of the wheel of this release, by architecture."""
    wheels = [each for each in offered if each.release() == (package_index.normalize(name), version)]
    return {
        architecture: each.sha256 or files.digest(Path(each.url))
        for architecture in ARCHITECTURES
        for each in wheels
        if each.matches(python, architecture) and not each.is_pure() and (each.sha256 or Path(each.url).is_file())
    }
