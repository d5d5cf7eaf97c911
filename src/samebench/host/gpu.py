"""GPU=: which GPUs a call asks for, and whether this machine can have them. Nothing here touches CUDA."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from samebench.host.errors import RequirementError, UsageError
from samebench.host.process import capture, output_of

if TYPE_CHECKING:
    from samebench.host.engine import Engine

DRIVER = 580  # the least that CUDA 13 takes (NVIDIA, CUDA Compatibility, table 1); docker/gpu.lock has CUDA 13
INSTALL = "install nvidia-container-toolkit"
TOOLKIT = ("nvidia-ctk", "nvidia-container-runtime-hook", "nvidia-container-toolkit")
CDI = (Path("/etc/cdi"), Path("/var/run/cdi"))


def parse(variables: Mapping[str, str]) -> str:
    """The GPUs of `GPU=`: "" for none, "all", or their numbers (or UUIDs) as CUDA takes them, such as "0,2".

    `CUDA_VISIBLE_DEVICES` says which of them there are. Raises UsageError for what GPU= can't be.
    """
    value, visible = variables.get("GPU", ""), variables.get("CUDA_VISIBLE_DEVICES", "")
    if value in {"", "0"}:
        return ""
    if value in {"1", "all"}:
        return visible or "all"
    if not re.fullmatch(r"[0-9]+,([0-9]+(,[0-9]+)*,?)?", value):
        raise _gpu_value_error(value)
    numbers = value.rstrip(",").split(",")
    if len(set(numbers)) < len(numbers):
        raise _gpu_value_error(value)
    hidden = [each for each in numbers if visible and each not in visible.split(",")]
    if hidden:
        remedy = "give GPU=1 for what is, or unset it"
        raise UsageError(f"GPU={value}: {hidden[0]} is not in CUDA_VISIBLE_DEVICES={visible}; {remedy}")
    return ",".join(numbers)


def _gpu_value_error(value: str) -> UsageError:
    return UsageError(f"GPU={value}: give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,")


def check(variables: Mapping[str, str], engine: Engine) -> None:
    """Refuse, before any work, what is certain not to be there. What only CUDA can tell is accelerator.py's affair."""
    gpus = parse(variables)
    if not gpus:
        return
    option = f"GPU={variables['GPU']}"
    if variables.get("CUDA_VISIBLE_DEVICES", "all") in {"", "-1"}:
        raise RequirementError(f"{option}: no GPU is visible, CUDA_VISIBLE_DEVICES hides them all; unset it")
    if engine.is_elsewhere():  # on another machine, which has drivers of its own
        return
    _check_driver(option, gpus)
    if engine.name == "docker":
        _check_docker(option)
    if engine.name == "podman":
        _check_podman(option)


def _check_driver(option: str, gpus: str) -> None:
    if not shutil.which("nvidia-smi"):
        # Debian packages it apart from the driver, and Windows' Linux keeps it off the path.
        if not any(os.path.exists(path) for path in ("/proc/driver/nvidia/version", "/dev/dxg")):
            remedy = f"install version {DRIVER} or newer, or leave GPU out"
            raise RequirementError(f"{option}: no NVIDIA driver on this machine; {remedy}")
        return
    result = capture(["nvidia-smi", "--query-gpu=index,driver_version", "--format=csv,noheader"])
    lines = (result.stdout + result.stderr).strip().splitlines() or [""]
    if "No devices" in lines[0] or (not result.returncode and not lines[0]):
        remedy = "leave GPU out, or take a machine that has one"
        raise RequirementError(f"{option}: no GPU is visible to nvidia-smi on this machine; {remedy}")
    if result.returncode:
        remedy = f"install version {DRIVER} or newer, or reboot after an update"
        raise RequirementError(f"{option}: the NVIDIA driver does not answer ({lines[0]}); {remedy}")
    version = lines[0].rpartition(",")[2].strip()
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < DRIVER:  # another form than this one is not certain
        remedy = f"install version {DRIVER} or newer"
        raise RequirementError(f"{option}: the NVIDIA driver {version} is too old for CUDA 13; {remedy}")
    numbers = re.findall(r"^(\d+),", "\n".join(lines), re.MULTILINE)
    for number in gpus.split(","):
        if number.isdecimal() and number not in numbers:
            listed = f"nvidia-smi lists {' '.join(numbers)}"
            raise RequirementError(f"{option}: no GPU {number} on this machine, {listed}; take one of these")


def _check_docker(option: str) -> None:
    if any(shutil.which(program) for program in TOOLKIT):
        return
    info = output_of(["docker", "info", "--format", "{{json .}}"])
    if any(word in info for word in ('"nvidia"', "nvidia.com/gpu", "Docker Desktop")):  # it has a machine of its own
        return
    missing = "the NVIDIA Container Toolkit is missing, without which docker hands over no GPU"
    remedy = f"{INSTALL}, then as root: nvidia-ctk runtime configure --runtime=docker, and restart docker"
    raise RequirementError(f"{option}: {missing}; {remedy}")


def _check_podman(option: str) -> None:
    files = [
        path for folder in CDI if os.access(folder, os.R_OK | os.X_OK) for path in folder.iterdir() if path.is_file()
    ]
    if any(b"nvidia.com/gpu" in path.read_bytes() for path in files if os.access(path, os.R_OK)):
        return
    describe = "as root: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
    if not shutil.which("nvidia-ctk"):
        missing = "the NVIDIA Container Toolkit is missing, without which podman hands over no GPU"
        raise RequirementError(f"{option}: {missing}; {INSTALL}, then {describe}")
    if "nvidia.com/gpu" not in output_of(["nvidia-ctk", "cdi", "list"]):
        raise RequirementError(
            f"{option}: the NVIDIA Container Toolkit has not described the GPU to podman; {describe}"
        )


def engine_words(gpus: str, engine_name: str) -> list[str]:
    """The engine's words for these GPUs."""
    if not gpus:
        return []
    if engine_name == "podman":
        return [word for each in gpus.split(",") for word in ("--device", f"nvidia.com/gpu={each}")]
    return ["--gpus", "all" if gpus == "all" else f'"device={gpus}"']  # quoted: docker reads a list of options there
