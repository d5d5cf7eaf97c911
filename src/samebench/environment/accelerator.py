"""The GPU: what `GPU=` asks for, why a machine can't give it, and what it is.

    python -m samebench.environment.accelerator COMMAND…    becomes COMMAND where the GPU that `GPU=` asks for is there

Without `GPU=` nothing touches CUDA, even where there is one; with it nothing falls back to the CPU.
"""

import ctypes
import importlib.util
import os
import re
import runpy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.host import gpu

if TYPE_CHECKING:
    import torch

DRIVER, MANAGEMENT = "libcuda.so.1", "libnvidia-ml.so.1"
NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE
# How torch begins to tell of them.
LOSSES = ("CUDA error", "CUDA driver error", "CUDA out of memory", "cuDNN error", "NCCL error")
FULL = ("out of memory", "ALLOC_FAILED")  # in one that others cause, with whom the GPU is shared
# A wrong index or argument, say: the GPU is well, and the program is to be mended.
MISUSE = re.compile("device-side assert|illegal memory|misaligned|(?i:invalid)|BAD_PARAM|NOT_SUPPORTED|not permitted")
SIZE = r"([\d.]+ [KMGT]?i?B|\d+ bytes)"
OUT_OF_MEMORY = re.compile(rf"(?s)Tried to allocate {SIZE}.* capacity of {SIZE}.* this process has {SIZE} memory")
OTHERS = 1 << 30  # bytes; less than this is no training of somebody else's


def gpu_requested() -> bool:
    """Whether `GPU=` asks for one."""
    return os.environ.get("GPU", "") not in {"", "0"}


def require(option: str = "") -> None:
    """Let CUDA see the GPUs that `GPU=` asks for.

    Raises RequirementError with the cause and the remedy where it can't have one. `option` is the option that asks for
    one where `GPU=` does not. Needs no torch in this process.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all") in {"", "-1"}
    if gpu_requested():
        option = f"GPU={os.environ['GPU']}"
        if (gpus := gpu.parse(os.environ)) != "all" and not hidden:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus
    os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # as nvidia-smi numbers them
    built_for = cuda()
    if built_for is None:
        remedy = "start anew, from outside, with GPU=1 (in an editor: the GPU devcontainer)"
        raise RequirementError(f"{option}: the torch of this workspace is built without CUDA; {remedy}")
    if hidden:
        raise RequirementError(f"{option}: no GPU is visible, CUDA_VISIBLE_DEVICES hides them all; unset it")
    if reason := _cuda_unavailable_reason(built_for):
        raise RequirementError(f"{option}: {reason}")


def choose(option: str = "auto", *, number: int = 0) -> "torch.device":
    """The device for `--device`: with auto the GPU of this `number` where `GPU=` asks for one, else the CPU.

    Raises RequirementError where a GPU is asked for and can't be had, UsageError for `GPU=` together with cpu. For the
    CPU it hides every GPU from this process: torch's optimizers look for one at each step.
    """
    import torch  # noqa: PLC0415 - only once the CPU level stands

    if option == "cpu" and gpu_requested():
        raise UsageError(f"GPU={os.environ['GPU']} and --device cpu contradict each other; leave one of them out")
    if option != "cuda" and not gpu_requested():
        if torch.version.cuda:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return torch.device("cpu")
    require("--device cuda")
    _start(number)
    return torch.device("cuda", number)


def facts(device: "torch.device") -> dict[str, Any]:
    """What a receipt tells of the GPU; nothing for the CPU."""
    import torch  # noqa: PLC0415 - only once the CPU level stands

    if device.type != "cuda":
        return {}
    properties = torch.cuda.get_device_properties(device)
    cudnn = torch.backends.cudnn.version() or 0  # type: ignore[no-untyped-call]
    return {
        "gpu": {
            "model": properties.name,
            "sm_count": properties.multi_processor_count,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "driver": driver(),
            "cuda": torch.version.cuda,
            "cudnn": f"{cudnn // 10000}.{cudnn // 100 % 100}.{cudnn % 100}",
        }
    }


def describe_gpu_error(error: BaseException) -> str:
    """What has become of the GPU, in one line, where `error` is how torch tells of it; otherwise nothing."""
    first = _first_line(error)
    if not isinstance(error, RuntimeError) or not first.startswith(LOSSES) or MISUSE.search(first):
        return ""
    full = any(each in first for each in FULL)
    memory_full = "its memory is full, nvidia-smi tells who has it; where nobody else does, it is too little for this"
    return f"{memory_full if full else 'the GPU is lost'} ({first})"


def describe_out_of_memory(error: BaseException) -> str:
    """How much more memory than the GPU has this process alone asks for, in one line; otherwise nothing.

    Torch tells the sizes; where it does not, nobody knows whose memory it is.
    """
    sizes = OUT_OF_MEMORY.search(str(error)) if isinstance(error, RuntimeError) else None
    if not sizes:
        return ""
    more, capacity, own_bytes = map(_bytes, sizes.groups())
    free = re.search(rf"of which {SIZE} is free", str(error))
    others = capacity - own_bytes - (_bytes(free[1]) if free else 0)
    if more + own_bytes <= capacity and others > OTHERS:
        return ""
    return f"the GPU has {sizes[2]}, this process has {sizes[3]} of it and asks for {sizes[1]} more"


def cuda() -> str | None:
    """The CUDA version that the installed torch is built for, None without; torch is not loaded for it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    version: str | None = runpy.run_path(str(Path(spec.origin).with_name("version.py")))["cuda"]
    return version


def driver() -> str | None:
    """The version of the NVIDIA driver, such as 580.65.06; None where it does not tell."""
    management = _library(MANAGEMENT)
    if management is None or management.nvmlInit_v2():
        return None
    buffer = ctypes.create_string_buffer(96)
    failed = management.nvmlSystemGetDriverVersion(buffer, len(buffer))
    return None if failed else buffer.value.decode()


def _cuda_unavailable_reason(built_for: str) -> str:
    """Why CUDA can't start here, with the remedy; nothing where it can."""
    library = _library(DRIVER)
    if library is None:
        if os.environ.get("SAMEBENCH") and os.environ.get("SAMEBENCH_RUNTIME") != "local":
            return "no NVIDIA driver in this container, which was given no GPU; start anew, from outside, with GPU=1"
        return f"no NVIDIA driver on this machine ({DRIVER} is not there); install one, or leave the GPU out"
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    major, minor = divmod(version.value, 1000)
    if major < int(built_for.partition(".")[0]):
        return (
            f"the NVIDIA driver is too old, it knows CUDA {major}.{minor // 10} and torch needs {built_for}; "
            "install a newer one"
        )
    failed = library.cuInit(0) or library.cuDeviceGetCount(ctypes.byref(count))
    if failed == NO_DEVICE or not (failed or count.value):
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hint = f"CUDA_VISIBLE_DEVICES={visible} names none that is there" if visible else "the driver finds none"
        return f"no GPU is visible, {hint}; compare with nvidia-smi on the host"
    if failed:
        return f"the NVIDIA driver does not start (CUDA error {failed}); run nvidia-smi, reboot after an update"
    return ""


def _start(number: int) -> None:
    """Start CUDA on this GPU. Raises RequirementError where it is not there, or torch has no code for it."""
    import torch  # noqa: PLC0415 - only once the CPU level stands

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other GPUs than the one that is taken
            torch.cuda.init()  # type: ignore[no-untyped-call]
        if number and number >= (count := torch.cuda.device_count()):
            raise RequirementError(f"process {number} has no GPU of its own, there are {count}; take PROCS={count}")
        if number:
            torch.cuda.set_device(number)
        has = torch.cuda.get_device_capability()
        torch.cuda.synchronize()  # the first that needs room on it, and nobody else who keeps it to himself
    except RuntimeError as error:
        raise RequirementError(
            f"torch can't use the GPU ({str(error).partition(chr(10))[0]}); run nvidia-smi"
        ) from error
    needed = min((_capability(each) for each in torch.cuda.get_arch_list()), default=(0, 0))
    if has < needed:
        name = torch.cuda.get_device_name()
        least = "{}.{}".format(*needed)
        raise RequirementError(f"{name}: compute capability {has[0]}.{has[1]}, torch needs {least}; take a newer GPU")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].partition(". GPU ")[0]


def _bytes(size: str) -> float:
    """The bytes of such as 1.50 GiB, as torch prints them."""
    number, _, unit = size.partition(" ")
    return float(number) * 1024.0 ** max(0, "bKMGT".find(unit[0]))


def _capability(architecture: str) -> tuple[int, int]:
    """Such as (9, 0) of sm_90, sm_90a or compute_90."""
    digits = "".join(each for each in architecture.partition("_")[2] if each.isdecimal())
    return int(digits[:-1]), int(digits[-1])


def _library(name: str) -> Any:
    """A library of the driver; None where there is none."""
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def main(argv: Sequence[str]) -> None:
    """Become the command in `argv` once the GPU is there."""
    if gpu_requested():
        require()
    if argv:
        os.execvp(argv[0], [*argv])  # noqa: S606 - what make asks for, no shell


if __name__ == "__main__":
    command.run(main)
