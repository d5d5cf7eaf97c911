import ctypes
import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from samebench.core.command import RequirementError, UsageError
from samebench.environment import accelerator
from samebench.runs import receipt
from tests.commands import call


class Driver:
    """Stands for libcuda.so.1."""

    def __init__(self, *, cuda: int = 13000, start: int = 0, gpus: int = 1) -> None:
        self.cuda, self.start, self.gpus = cuda, start, gpus

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802 - CUDA's name
        version._obj.value = self.cuda
        return 0

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - CUDA's name
        return self.start

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802 - CUDA's name
        count._obj.value = self.gpus
        return 0


class Management:
    """Stands for libnvidia-ml.so.1."""

    def nvmlInit_v2(self) -> int:  # noqa: N802 - NVIDIA's name
        return 0

    def nvmlSystemGetDriverVersion(self, told: "ctypes.Array[ctypes.c_char]", size: int) -> int:  # noqa: N802
        told.value = b"580.65.06"[:size]
        return 0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A GPU workspace on a machine with a GPU, asked for by GPU=1; the libraries of its driver, to be changed."""
    libraries: dict[str, Any] = {accelerator.DRIVER: Driver(), accelerator.MANAGEMENT: Management()}
    monkeypatch.setattr(accelerator, "_library", libraries.get)
    monkeypatch.setattr(accelerator, "cuda", lambda: "13.0")
    monkeypatch.setenv("GPU", "1")
    monkeypatch.setenv("SAMEBENCH_RUNTIME", "local")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    return libraries


def refusal() -> str:
    with pytest.raises(RequirementError) as lacking:
        accelerator.require()
    return str(lacking.value)


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_is_there_is_taken() -> None:
    accelerator.require()


def test_no_driver_is_lacking(machine: dict[str, Any]) -> None:
    machine[accelerator.DRIVER] = None
    remedy = "install one, or leave the GPU out"
    assert refusal() == f"GPU=1: no NVIDIA driver on this machine (libcuda.so.1 is not there); {remedy}"


def test_a_container_that_was_given_no_gpu_says_so(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    machine[accelerator.DRIVER] = None
    monkeypatch.setenv("SAMEBENCH", "1")
    monkeypatch.setenv("SAMEBENCH_RUNTIME", "docker")
    remedy = "start anew, from outside, with GPU=1"
    assert refusal() == f"GPU=1: no NVIDIA driver in this container, which was given no GPU; {remedy}"


def test_a_driver_older_than_torchs_cuda_is_lacking(machine: dict[str, Any]) -> None:
    machine[accelerator.DRIVER] = Driver(cuda=12080)
    line = "GPU=1: the NVIDIA driver is too old, it knows CUDA 12.8 and torch needs 13.0; install a newer one"
    assert refusal() == line


def test_a_driver_newer_than_torchs_cuda_will_do(machine: dict[str, Any]) -> None:
    machine[accelerator.DRIVER] = Driver(cuda=14010)
    accelerator.require()


@pytest.mark.parametrize(
    ("visible", "driver", "said"),
    [
        (None, Driver(start=accelerator.NO_DEVICE), "the driver finds none"),
        (None, Driver(gpus=0), "the driver finds none"),
        ("7", Driver(start=accelerator.NO_DEVICE), "CUDA_VISIBLE_DEVICES=7 names none that is there"),
        ("", Driver(), "CUDA_VISIBLE_DEVICES hides them all; unset it"),
        ("-1", Driver(), "CUDA_VISIBLE_DEVICES hides them all; unset it"),
    ],
)
def test_no_visible_gpu_is_lacking(
    visible: str | None, driver: Driver, said: str, machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine[accelerator.DRIVER] = driver
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert f"GPU=1: no GPU is visible, {said}" in refusal()


def test_a_driver_that_does_not_start_is_lacking(machine: dict[str, Any]) -> None:
    machine[accelerator.DRIVER] = Driver(start=803)
    assert refusal().startswith("GPU=1: the NVIDIA driver does not start (CUDA error 803); run nvidia-smi")


@pytest.mark.parametrize("module", ["samebench.environment.accelerator", "samebench.training"])
def test_an_image_without_cuda_is_lacking_in_one_line_with_code_3(module: str, tmp_path: Path) -> None:
    if torch.version.cuda:
        pytest.skip("this workspace has CUDA")
    done = call("-m", module, at=tmp_path, changes={"GPU": "1"})
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert done.stderr.startswith("error: GPU=1: the torch of this workspace is built without CUDA; start anew")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(("asked", "visible"), [("0,2", "0,2"), ("2,", "2"), ("1", None), ("all", None)])
def test_gpus_are_picked_by_number(asked: str, visible: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU", asked)
    accelerator.require()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
    accelerator.require()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible, "also by a command that another has started"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("asked", ["yes", "2", "-1", ",", "0,,1", "0,0", "0,x", "1,2,,"])
def test_what_picks_no_gpus_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU", asked)
    with pytest.raises(UsageError, match=f"GPU={asked}: give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,"):
        accelerator.require()


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_was_hidden_from_us_can_not_be_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU", "0,1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    with pytest.raises(UsageError, match=r"GPU=0,1: 0 is not in CUDA_VISIBLE_DEVICES=1,2; give GPU=1 for what is"):
        accelerator.require()


def test_the_command_is_become_only_where_the_gpu_is_there(tmp_path: Path) -> None:
    words = ["-m", "samebench.environment.accelerator", sys.executable, "-c", "print('here')"]
    assert call(*words, at=tmp_path, changes={"GPU": "0"}).stdout == "here\n"
    if not torch.version.cuda:
        assert call(*words, at=tmp_path, changes={"GPU": "1"}).stdout == ""


@pytest.mark.usefixtures("machine")
def test_the_cpu_is_not_taken_where_a_gpu_is_asked_for() -> None:
    with pytest.raises(UsageError, match="GPU=1 and --device cpu contradict each other; leave one of them out"):
        accelerator.choose("cpu")


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("asked", [None, "", "0"])
def test_without_it_the_cpu_is_taken_and_every_gpu_hidden(asked: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPU")
    if asked is not None:
        monkeypatch.setenv("GPU", asked)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(accelerator, "_library", lambda name: pytest.fail(f"{name} was opened"))
    assert accelerator.choose().type == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""


def gpu_of_this_process(monkeypatch: pytest.MonkeyPatch, *, capability: tuple[int, int] = (9, 0)) -> None:
    """Lets torch tell of a GPU that is not there."""
    major, minor = capability
    known = SimpleNamespace(name="NVIDIA H100 80GB HBM3", multi_processor_count=132, major=major, minor=minor)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: known)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: known.name)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_90", "sm_90a", "sm_120", "compute_120"])
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_torch_has_no_code_for_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_of_this_process(monkeypatch, capability=(7, 0))
    with pytest.raises(RequirementError, match=r"HBM3: compute capability 7\.0, torch needs 7\.5; take a newer GPU"):
        accelerator.choose()


@pytest.mark.usefixtures("machine")
def test_a_gpu_that_another_program_keeps_to_itself_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_of_this_process(monkeypatch)

    def synchronize() -> None:
        raise torch.AcceleratorError("CUDA error: CUDA-capable device(s) is/are busy or unavailable\nmore")

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(
        RequirementError, match=r"^torch can't use the GPU \(CUDA error: .* unavailable\); run nvidia-smi$"
    ):
        accelerator.choose()


@pytest.mark.usefixtures("machine")
def test_what_torch_warns_of_other_gpus_is_left_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_of_this_process(monkeypatch)
    monkeypatch.setattr(torch.cuda, "init", lambda: warnings.warn("GPU1 is too old", stacklevel=1))
    assert accelerator.choose().type == "cuda"


@pytest.mark.usefixtures("machine")
def test_the_receipt_tells_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_of_this_process(monkeypatch)
    assert accelerator.facts(accelerator.choose()) == {
        "gpu": {
            "model": "NVIDIA H100 80GB HBM3",
            "sm_count": 132,
            "compute_capability": "9.0",
            "driver": "580.65.06",
            "cuda": "13.0",
            "cudnn": "9.20.0",
        }
    }
    assert accelerator.facts(torch.device("cpu")) == {}


def test_another_gpu_is_a_changed_input() -> None:
    then, now = ({"device": "cuda", "gpu": {"model": model, "sm_count": 132}} for model in ("H100", "H200"))
    assert receipt.diff(then, now) == ["gpu.model: H100 then, H200 now"]


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (torch.AcceleratorError("CUDA error: unspecified launch failure\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: the GPU has fallen off the bus"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (torch.AcceleratorError("CUDA error: an illegal memory access was encountered"), False),
        (torch.AcceleratorError("CUDA error: invalid configuration argument"), False),
        (RuntimeError("CUDA error: CUBLAS_STATUS_INVALID_VALUE when calling `cublasSgemm`"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_BAD_PARAM"), False),
        (torch.distributed.DistBackendError("NCCL error in: a.cpp:1, invalid argument"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (OSError("CUDA error: not torch's"), False),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
    ],
)
def test_a_lost_gpu_is_told_from_a_bug(error: BaseException, is_lost: bool) -> None:
    told = accelerator.describe_gpu_error(error)
    assert bool(told) is is_lost
    assert "\n" not in told
    assert "total capacity" not in told
    full = "out of memory" in str(error) or "ALLOC_FAILED" in str(error)
    assert told.startswith("its memory is full, nvidia-smi" if full else "the GPU is lost (" if is_lost else "")


def out_of_memory(*, tried: str, capacity: str, free: str, own: str) -> torch.OutOfMemoryError:
    """As torch 2.13 says it (c10/cuda/CUDACachingAllocator.cpp)."""
    return torch.OutOfMemoryError(
        f"CUDA out of memory. Tried to allocate {tried}. GPU 0 has a total capacity of {capacity} of which {free} is "
        f"free. Process 4242 has 9.00 GiB memory in use. Including non-PyTorch memory, this process has {own} memory "
        "in use. Of the allocated memory 1.00 GiB is allocated by PyTorch, and 10.00 MiB is reserved by PyTorch but "
        "unallocated. If reserved but unallocated memory is large try setting PYTORCH_ALLOC_CONF"
    )


@pytest.mark.parametrize(
    ("error", "is_ours"),
    [
        (out_of_memory(tried="2.00 GiB", capacity="79.11 GiB", free="1.03 GiB", own="78.07 GiB"), True),
        (out_of_memory(tried="64.00 GiB", capacity="79.11 GiB", free="9.03 GiB", own="20.00 GiB"), True),
        (out_of_memory(tried="512.00 MiB", capacity="79.11 GiB", free="100.00 MiB", own="20.00 GiB"), False),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"),
            False,
        ),
        (torch.AcceleratorError("CUDA error: out of memory"), False),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    ],
)
def test_a_gpu_that_is_too_small_is_told_from_one_that_others_use(error: RuntimeError, is_ours: bool) -> None:
    said = accelerator.describe_out_of_memory(error)
    assert bool(said) is is_ours
    assert "\n" not in said
    assert said.startswith("the GPU has 79.11 GiB, this process has " if is_ours else "")
