"""The same bits on any x86-64 CPU with AVX2, whatever its maker, its number of cores and its load.

ATen, oneDNN and MKL choose their code by the chip unless told otherwise, and each choice rounds differently.
Measured: with all three variables the same weights on Intel and AMD from Haswell on; with any one unset, not.
"""

import os
import platform
import sys
from pathlib import Path

from samebench.core.command import RequirementError, UsageError

# MKL_CBWR=AVX2 is not enough: on chips that are not Intel's it falls back to AUTO.
CPU_LEVEL = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_CBWR": "COMPATIBLE"}
CUBLAS = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}

_set_before_torch: dict[str, str | None] = {}


def cpu_level_variables(*, fast: bool) -> dict[str, str | None]:
    """The variables torch must find when it is loaded; None is unset. Empty where not x86-64."""
    level = dict(CPU_LEVEL) if platform.machine().lower() in {"x86_64", "amd64"} else {}
    return {name: None if fast else value for name, value in level.items()}


def reexecute(*, fast: bool) -> None:
    """Start this command again with the variables it needs, where it was started with others.

    Only for commands, before any work; where the variables are right it returns and has changed nothing.
    """
    target = cpu_level_variables(fast=fast)
    if all(_at_load(name) == value for name, value in target.items()):
        return
    environment = {name: value for name, value in os.environ.items() if name not in target}
    environment |= {name: value for name, value in target.items() if value is not None}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, environment)  # noqa: S606 - ourselves, no shell


def pin(*, fast: bool = False) -> None:
    """Hold this process to the CPU level, deterministic algorithms and one thread per operation.

    `fast` lifts the first two. Raises UsageError where torch was loaded under other settings, and RequirementError
    where the chip does not have the level.
    """
    target = cpu_level_variables(fast=fast)
    if not fast:
        _check_chip(target)
        _check_loaded(target)
    for name, value in target.items():
        _set(name, value)
    os.environ |= CUBLAS
    import torch  # noqa: PLC0415 - only once the variables stand

    torch.use_deterministic_algorithms(not fast)
    # On a GPU, left to itself, cuDNN rounds float32 to ten bits of mantissa; to set it touches no GPU.
    # By its older switches: torch's exporter asks these, and fails where only the newer fp32_precision was set.
    torch.backends.cudnn.allow_tf32 = fast
    torch.backends.cuda.matmul.allow_tf32 = fast
    torch.backends.cudnn.benchmark = fast
    # Filling fresh memory costs 3 to 6 % and guards against operations that we do not use.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(1)


def has_native_bf16() -> bool:
    """Whether the chip itself computes in bf16; elsewhere bf16 was measured 21 to 24 times slower."""
    return bool(_chip_flags() & BF16_FLAGS)


def level() -> str:
    """The CPU level that ATen works at, such as AVX2 or AVX512."""
    import torch  # noqa: PLC0415 - only once the variables stand

    return torch.backends.cpu.get_cpu_capability()


def variables() -> dict[str, str | None]:
    """The variables of the CPU level as torch found them when it was loaded; None is unset."""
    return {name: _at_load(name) for name in CPU_LEVEL}


def chip() -> str:
    """The CPU's name for itself."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _check_chip(target: dict[str, str | None]) -> None:
    if target and "avx2" not in (_chip_flags() or {"avx2"}):
        raise RequirementError(
            "this CPU has no AVX2, which the pinned CPU level needs; take --fast, which promises nothing"
        )


def _check_loaded(target: dict[str, str | None]) -> None:
    if "torch" not in sys.modules:
        return
    for name, value in target.items():
        if (actual := _at_load(name)) != value:
            raise UsageError(
                f"torch is already loaded, in a process started with {name}={actual or '(unset)'}; "
                f"start it anew with {name}={value}, or call determinism.pin() before importing torch"
            )
    if target and level() != "AVX2":
        raise UsageError(f"torch works at CPU level {level()}, not AVX2; start anew with ATEN_CPU_CAPABILITY=avx2")


def _set(name: str, value: str | None) -> None:
    if "torch" in sys.modules:
        return
    _set_before_torch[name] = value
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _at_load(name: str) -> str | None:
    """What torch found: what the process was started with, unless we set it before torch was loaded.

    os.environ does not tell, as a notebook may have changed it after the libraries had read it.
    """
    if name in _set_before_torch:
        return _set_before_torch[name]
    started = Path("/proc/self/environ")
    if "torch" not in sys.modules or not started.is_file():
        return os.environ.get(name)
    prefix = os.fsencode(name) + b"="
    values = [entry for entry in started.read_bytes().split(b"\0") if entry.startswith(prefix)]
    return os.fsdecode(values[0].removeprefix(prefix)) if values else None


def _chip_flags() -> set[str]:
    return set(_cpuinfo("flags").split())


def _cpuinfo(field: str) -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), "")
