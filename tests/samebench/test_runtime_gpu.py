"""`GPU=` on the host: which GPUs are handed over, and what is refused before any work."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from samebench.host import gpu

from .checkout import ROOT, run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs, write_program

__all__ = ["checkout", "programs"]  # fixtures


def fake_gpus(programs: Path, *, driver: str = "580.65.06", toolkit: str = "echo nvidia.com/gpu=all") -> None:
    """A machine with three GPUs, whose driver and container toolkit answer so."""
    write_program(programs / "nvidia-smi", f'for n in 0 1 2; do echo "$n, {driver}"; done')
    write_program(programs / "nvidia-ctk", toolkit)


def test_gpu_is_asked_for_where_it_is_wanted_(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=SERVER)
    fake_gpus(programs)
    done = run(["make", "notebook", "GPU=1"], cwd=checkout, path=programs)
    assert done.returncode == 0, done.stderr
    words = (checkout / "asked").read_text().splitlines()
    assert words[words.index("--gpus") + 1] == "all"
    image = next(place for place, word in enumerate(words) if word.startswith("samebench:gpu-"))
    assert words[image + 1 :] == [
        "python",
        "-m",
        "samebench.environment.accelerator",
        "python",
        "-m",
        "samebench.workspace.notebook",
    ]
    assert words[words.index("--health-cmd") + 1] == "python -m samebench.workspace.notebook --health"
    run(["make", "notebook"], cwd=checkout, path=programs)
    words = (checkout / "asked").read_text().splitlines()
    assert not {"--gpus", "samebench.environment.accelerator", "GPU=1"} & set(words)


@pytest.mark.parametrize(
    ("variables", "docker", "podman"),
    [
        ({"GPU": "1"}, ["all"], ["all"]),
        ({"GPU": "all"}, ["all"], ["all"]),
        ({"GPU": "0,2"}, ['"device=0,2"'], ["0", "2"]),
        ({"GPU": "2,"}, ['"device=2"'], ["2"]),
        ({"GPU": "1", "CUDA_VISIBLE_DEVICES": "1,2"}, ['"device=1,2"'], ["1", "2"]),
        ({"GPU": "2,", "CUDA_VISIBLE_DEVICES": "1,2"}, ['"device=2"'], ["2"]),
        ({"GPU": "1", "CUDA_VISIBLE_DEVICES": "GPU-5a"}, ['"device=GPU-5a"'], ["GPU-5a"]),
        ({"GPU": "0"}, [], []),
        ({"GPU": "0", "CUDA_VISIBLE_DEVICES": "1,2"}, [], []),
    ],
)
def test_the_gpus_asked_for_are_handed_over_and_no_others(
    checkout: Path, programs: Path, variables: dict[str, str], docker: list[str], podman: list[str]
) -> None:
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    fake_gpus(programs)
    for runtime, flag, expected in (("docker", "--gpus", docker), ("podman", "--device", podman)):
        asked = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={**variables, "RUNTIME": runtime})
        assert asked.returncode == 0, asked.stderr
        words = asked.stdout.splitlines()
        given = [after.removeprefix("nvidia.com/gpu=") for word, after in pairwise(words) if word == flag]
        assert given == expected
        assert ("GPU=1" in words) is bool(expected), "in there are only those, all of which are meant"


def test_the_local_runtime_asks_cuda_itself_before_the_command(checkout: Path, programs: Path) -> None:
    fake_gpus(programs)
    write_program(programs / "python", 'echo "$GPU" "$@"')
    for asked, said in (("0,2", "0,2 -m samebench.environment.accelerator echo hello\n"), ("0", "hello\n")):
        variables = {"RUNTIME": "local", "GPU": asked}
        assert run([*SCRIPT, "echo", "hello"], cwd=checkout, path=programs, variables=variables).stdout == said


NO_DRIVER = "no NVIDIA driver on this machine; install version 580 or newer, or leave GPU out"
OLD_DRIVER = "the NVIDIA driver 570.133.20 is too old for CUDA 13; install version 580 or newer"
NO_TOOLKIT = (
    "the NVIDIA Container Toolkit is missing, without which {} hands over no GPU; install nvidia-container-toolkit"
)
CDI = "as root: nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


def gpu_refusal(checkout: Path, programs: Path, **variables: str) -> str:
    """What `make train GPU=1` says instead of making anything."""
    variables = {"GPU": "1", "RUNTIME": "docker", **variables}
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables)
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert not (checkout / "installed").exists()
    assert not (checkout / "runs").exists()
    said = done.stderr.splitlines()[1:]
    assert len(said) == 1
    return said[0].removeprefix(f"samebench: GPU={variables['GPU']}: ")


def lacks(*names: str) -> None:
    """Skips on a machine that has what a test is about not having."""
    for name in names:
        if shutil.which(name) or Path(name).exists():
            pytest.skip(f"this machine has {name}")


RUNTIMES = pytest.mark.parametrize("runtime", ["docker", "podman", "local"])


@RUNTIMES
def test_no_driver_is_lacking_before_any_work(checkout: Path, programs: Path, runtime: str) -> None:
    lacks("nvidia-smi", "/proc/driver/nvidia/version", "/dev/dxg")
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    assert gpu_refusal(checkout, programs, RUNTIME=runtime) == NO_DRIVER


@RUNTIMES
def test_an_old_driver_is_lacking_before_any_work(checkout: Path, programs: Path, runtime: str) -> None:
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    fake_gpus(programs, driver="570.133.20")
    assert gpu_refusal(checkout, programs, RUNTIME=runtime) == OLD_DRIVER


@RUNTIMES
def test_a_driver_that_does_not_answer_is_lacking(checkout: Path, programs: Path, runtime: str) -> None:
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    fake_gpus(programs)
    write_program(programs / "nvidia-smi", "echo Failed to initialize NVML: Driver/library version mismatch; exit 18")
    said = gpu_refusal(checkout, programs, RUNTIME=runtime)
    answer = "Failed to initialize NVML: Driver/library version mismatch"
    remedy = "install version 580 or newer, or reboot after an update"
    assert said == f"the NVIDIA driver does not answer ({answer}); {remedy}"


@RUNTIMES
@pytest.mark.parametrize("code", [0, 6])
def test_a_driver_without_a_gpu_is_lacking(checkout: Path, programs: Path, runtime: str, code: int) -> None:
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    write_program(programs / "nvidia-smi", f"echo No devices were found; exit {code}")
    assert gpu_refusal(checkout, programs, RUNTIME=runtime).startswith(
        "no GPU is visible to nvidia-smi on this machine"
    )


@RUNTIMES
def test_a_gpu_of_another_number_is_lacking(checkout: Path, programs: Path, runtime: str) -> None:
    fake_engines(programs, docker=ENGINE, podman=ENGINE)
    fake_gpus(programs)
    said = gpu_refusal(checkout, programs, RUNTIME=runtime, GPU="0,3")
    assert said == "no GPU 3 on this machine, nvidia-smi lists 0 1 2; take one of these"


def test_a_hidden_gpu_is_lacking(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    fake_gpus(programs)
    said = gpu_refusal(checkout, programs, CUDA_VISIBLE_DEVICES="")
    assert said == "no GPU is visible, CUDA_VISIBLE_DEVICES hides them all; unset it"


def test_docker_without_the_toolkit_is_lacking(checkout: Path, programs: Path) -> None:
    lacks("nvidia-ctk", "nvidia-container-runtime-hook", "nvidia-container-toolkit")
    fake_engines(programs, docker=ENGINE)
    fake_gpus(programs)
    (programs / "nvidia-ctk").unlink()
    configure = "as root: nvidia-ctk runtime configure --runtime=docker, and restart docker"
    assert gpu_refusal(checkout, programs) == f"{NO_TOOLKIT.format('docker')}, then {configure}"


def test_docker_that_knows_of_nvidia_needs_no_toolkit_on_our_path(checkout: Path, programs: Path) -> None:
    for told in ('{"Runtimes":{"nvidia":{}}}', '{"ID":"nvidia.com/gpu=all"}', '{"OperatingSystem":"Docker Desktop"}'):
        fake_engines(
            programs, docker=f"""case "$*" in *json*) echo '{told}' ;; info*) echo 28.5 ;; run*) echo ran ;; esac"""
        )
        fake_gpus(programs)
        (programs / "nvidia-ctk").unlink()
        variables = {"RUNTIME": "docker", "GPU": "1"}
        assert run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables).stdout == "ran\n"


def test_podman_without_the_toolkit_or_its_description_is_lacking(checkout: Path, programs: Path) -> None:
    lacks("nvidia-ctk", "/etc/cdi", "/var/run/cdi")
    fake_engines(programs, docker="exit 1", podman=ENGINE)
    fake_gpus(programs, toolkit="echo 'Found 0 CDI devices' >&2")
    missing = "the NVIDIA Container Toolkit has not described the GPU to podman"
    assert gpu_refusal(checkout, programs, RUNTIME="podman") == f"{missing}; {CDI}"
    (programs / "nvidia-ctk").unlink()
    assert gpu_refusal(checkout, programs, RUNTIME="podman") == f"{NO_TOOLKIT.format('podman')}, then {CDI}"


def test_what_another_machine_has_is_left_to_its_engine(checkout: Path, programs: Path) -> None:
    there = (
        'case "$*" in context*) echo ssh://there ;; *Remote*) echo true ;; info*) echo 28.5 ;; run*) echo ran ;; esac'
    )
    fake_engines(programs, docker=there, podman=there)
    for runtime in ("docker", "podman"):
        variables = {"RUNTIME": runtime, "GPU": "1"}
        done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables)
        assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


@pytest.mark.parametrize("target", ["build", "notebook", "shell", "train", "test", "evaluate", "reproduce", "export"])
def test_every_target_refuses_a_gpu_that_can_not_be_had(checkout: Path, programs: Path, target: str) -> None:
    fake_engines(programs, docker=f"{ENGINE}; echo $1 >>{programs}/docker-did")
    fake_gpus(programs, driver="570.133.20")
    done = run(["make", target, "GPU=1"], cwd=checkout, path=programs)
    assert f"samebench: GPU=1: {OLD_DRIVER}\n" in done.stderr
    assert re.search(r"^make: .* Error 3$", done.stderr, re.MULTILINE)
    assert set((programs / "docker-did").read_text().split()) <= {"info", "context"}


def test_the_check_alone_says_what_is_missing_and_makes_nothing(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    for driver, code in (("570.133.20", 3), ("580.65.06", 0)):
        fake_gpus(programs, driver=driver)
        assert run([*SCRIPT, "--check"], cwd=checkout, path=programs, variables={"GPU": "1"}).returncode == code
    assert not (checkout / "runs").exists()


def test_the_image_for_another_machine_is_built_without_a_gpu(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker='case $1 in info) echo 28.5 ;; buildx) echo "$@" >>built ;; image) echo 1 ;; esac')
    fake_gpus(programs, driver="570.133.20")
    done = run(["make", "build", "GPU=1", "ELSEWHERE=1"], cwd=checkout, path=programs)
    assert done.returncode == 0, done.stderr
    assert "docker/gpu.Dockerfile" in (checkout / "built").read_text()


def test_git_needs_no_gpu(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="exit 1")
    done = run([*SCRIPT, "--ready", "echo", "hello"], cwd=checkout, path=programs, variables={"GPU": "1"})
    assert done.stdout == "hello\n"


def test_the_driver_that_is_asked_for_is_that_of_the_locked_cuda() -> None:
    assert "\nnvidia-cuda-runtime==13." in (ROOT / "docker/gpu.lock").read_text(), "then look up DRIVER anew"
    assert gpu.DRIVER == 580
    assert "older than 580" in (ROOT / "docs/gpu.md").read_text()
