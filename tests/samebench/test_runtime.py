"""`runtime.sh`: which runtime is taken and why, what it refuses, and how the local one is set up."""

import os
import re
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from samebench.lock import declared

from .checkout import INHERITED, ROOT, copy_checkout, run
from .server import wait_for

SCRIPT = ["sh", "src/samebench/runtime.sh"]

# Stands for install.sh: notes that it was called, and makes what the runtime needs of a virtual environment.
FAKE_INSTALL = """
echo "$@" >>installed
mkdir -p "$2/bin"
[ ! -e die ] || exit 3
"""

GIVE_GPU = "give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,"

ENGINE = 'case $1 in info) echo 26.1.5 ;; run) printf "%s\\n" "$@" ;; esac'  # says what it was asked to run


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with spaces, whose install.sh installs nothing."""
    path = copy_checkout(tmp_path / "my work, here")
    (path / "src/samebench/install.sh").write_text(FAKE_INSTALL)
    return path


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for fakes that come first on the path."""
    path = tmp_path / "bin"
    path.mkdir()
    return path


def write_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def fake_engines(programs: Path, *, docker: str, podman: str = "exit 1") -> None:
    write_program(programs / "docker", docker)
    write_program(programs / "podman", podman)


def installs(checkout: Path) -> int:
    return len((checkout / "installed").read_text().splitlines())


def test_engine_that_does_not_answer_is_not_chosen(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="echo 'Cannot connect to the daemon' >&2; exit 1")
    done = run([*SCRIPT, "echo", "hello"], cwd=checkout, path=programs)
    assert done.stdout == "hello\n"
    assert "runtime: local (docker does not answer, podman does not answer)" in done.stderr


def test_podman_is_chosen_when_only_podman_answers(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="exit 1", podman='[ "$1" = info ] && echo 4.3.1; [ "$1" != run ] || echo in podman')
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs)
    assert "runtime: podman (docker does not answer, version 4.3.1 answers)" in done.stderr
    assert done.stdout == "in podman\n"


def test_runtime_asked_for_is_never_replaced_by_another(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="echo 'Cannot connect to the daemon' >&2; exit 1")
    done = run([*SCRIPT, "echo", "hello"], cwd=checkout, path=programs, variables={"RUNTIME": "docker"})
    assert (done.returncode, done.stdout) == (3, "")
    answer = "the engine does not answer (Cannot connect to the daemon); start it, or use RUNTIME=local"
    assert done.stderr == f"samebench: RUNTIME=docker: {answer}\n"


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"RUNTIME": "vagrant"}, "RUNTIME=vagrant: give auto, docker, podman or local"),
        *(({"GPU": asked}, f"GPU={asked}: {GIVE_GPU}") for asked in ("yes", "2", "-1", ",", "0,,1", "0,0", "1,2,,")),
        (
            {"GPU": "0,1", "CUDA_VISIBLE_DEVICES": "1,2"},
            "GPU=0,1: 0 is not in CUDA_VISIBLE_DEVICES=1,2; give GPU=1 for what is, or unset it",
        ),
        ({"CA_CERT": "/nowhere.pem"}, "CA_CERT=/nowhere.pem: no such file"),
    ],
)
def test_wrong_use_gets_one_line_and_code_2(checkout: Path, variables: dict[str, str], line: str) -> None:
    done = run([*SCRIPT, "true"], cwd=checkout, variables=variables)
    assert (done.returncode, done.stderr) == (2, f"samebench: {line}\n")


def test_files_in_the_container_belong_to_the_host_user_and_nothing_is_granted(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs).stdout.splitlines()
    assert words[words.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert {"no-new-privileges", "--read-only", "--init", "--pids-limit"} <= set(words)
    assert f'type=bind,"source={checkout}",target=/workspace' in words, "quoted: a path may have a comma"


@pytest.mark.parametrize("name", ["DATA", "RUN"])
def test_a_path_outside_the_checkout_is_mounted_read_only_under_its_own_name(
    checkout: Path, programs: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a teammate's").mkdir()
    link = tmp_path / "link"
    link.symlink_to("a teammate's")
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: str(link)}).stdout.splitlines()
    assert f'type=bind,"source={link.resolve()}","target={link}",readonly' in words
    assert name == "RUN" or f"DATA={link}" in words, "a notebook asks for it there"


@pytest.mark.parametrize("name", ["DATA", "RUN"])
def test_an_absolute_path_in_the_checkout_can_be_written(checkout: Path, programs: Path, name: str) -> None:
    fake_engines(programs, docker=ENGINE)
    inside = checkout / "runs/1"
    inside.mkdir(parents=True)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: str(inside)}).stdout.splitlines()
    assert f'type=bind,"source={inside}","target={inside}"' in words


@pytest.mark.parametrize("name", ["DATA", "RUN"])
def test_a_relative_path_out_of_the_checkout_is_refused(checkout: Path, programs: Path, name: str) -> None:
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: "data/../../bin"})
    remedy = f"out of the checkout, which is all that the container sees; give it absolute: {name}={programs}"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1:] == [f"samebench: {name}=data/../../bin: {remedy}"]


def test_data_in_the_checkout_is_told_to_notebooks_and_a_name_is_no_path(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    for given, told in (("notebooks", "DATA=/workspace/notebooks"), ("synthetic", "DATA=synthetic")):
        done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"DATA": given})
        assert told in done.stdout.splitlines()
        assert done.stderr.count("\n") == 1


def test_a_path_that_is_not_there_is_refused(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"RUN": "/nowhere/at all"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1:] == ["samebench: /nowhere/at all: no such file or directory"]


@pytest.mark.parametrize("port", ["0", "80", "08888", "1023", "65536", "99999999999999999999", "http", "-1"])
@pytest.mark.parametrize("runtime", ["docker", "local"])
def test_a_port_out_of_range_is_refused_in_every_runtime(
    checkout: Path, programs: Path, runtime: str, port: str
) -> None:
    fake_engines(programs, docker=ENGINE)
    variables = {"RUNTIME": runtime, "PORT": port}
    done = run([*SCRIPT, "--serve", "8888", "true"], cwd=checkout, path=programs, variables=variables)
    assert (done.returncode, done.stderr) == (2, f"samebench: PORT={port}: give a number from 1024 to 65535\n")


# Says what it was asked to run, and in the server's name where it is.
SERVER = """
case $1 in
info) echo 26.1.5 ;;
run) printf '%s\\n' "$@" >asked; echo name ;;
logs) echo 'JupyterLab: http://127.0.0.1:9000/lab?token=x   (Ctrl-C ends it)' ;;
inspect) echo 0 ;;
esac
"""


def test_open_gives_the_link_to_the_browser(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=SERVER)
    write_program(programs / "xdg-open", 'echo "$@" >opened.part; mv opened.part opened')
    variables = {"OPEN": "1", "PORT": "9000"}
    done = run([*SCRIPT, "--serve", "8888", "true"], cwd=checkout, path=programs, variables=variables)
    assert done.stdout == "JupyterLab: http://127.0.0.1:9000/lab?token=x   (Ctrl-C ends it)\n"
    wait_for(checkout / "opened")
    assert (checkout / "opened").read_text() == "http://127.0.0.1:9000/lab?token=x\n"


# Takes a moment to start what it is asked to.
SLOW = """
case $1 in
info) echo 26.1.5 ;;
run) until [ "$1" = --cidfile ]; do shift; done; echo name >"$2"; touch begun; sleep 1; echo name ;;
rm) echo "$3" >removed ;;
esac
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=["terminal closed", "told"])
def test_container_that_just_starts_is_removed_by_a_signal(
    checkout: Path, programs: Path, number: signal.Signals
) -> None:
    fake_engines(programs, docker=SLOW)
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "RUNTIME": "docker"}
    with subprocess.Popen([*SCRIPT, "--serve", "8888", "true"], cwd=checkout, env=environment, stderr=-1) as server:
        wait_for(checkout / "begun")
        server.send_signal(number)
        assert server.wait(20) == 4
    assert (checkout / "removed").read_text() == "name\n"


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
    assert words[image + 1 :] == ["python", "-m", "samebench.accelerator", "python", "-m", "samebench.notebook"]
    assert words[words.index("--health-cmd") + 1] == "python -m samebench.notebook --health"
    run(["make", "notebook"], cwd=checkout, path=programs)
    words = (checkout / "asked").read_text().splitlines()
    assert not {"--gpus", "samebench.accelerator", "GPU=1"} & set(words)


def test_what_torchrun_needs_goes_along_and_several_machines_share_the_hosts_network(
    checkout: Path, programs: Path
) -> None:
    fake_engines(programs, docker=ENGINE)
    asked = {"RUNTIME": "docker", "PROCS": "2", "JOB": "evening"}
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=asked).stdout.splitlines()
    assert {("--env", "PROCS"), ("--env", "JOB")} <= set(pairwise(words))
    assert "--network" not in words
    asked |= {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a"}
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=asked).stdout.splitlines()
    assert {("--env", "NNODES"), ("--env", "MASTER_ADDR"), ("--network", "host")} <= set(pairwise(words))


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
    for asked, said in (("0,2", "0,2 -m samebench.accelerator echo hello\n"), ("0", "hello\n")):
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
    assert "\nnvidia-cuda-runtime==13." in (ROOT / "docker/gpu.lock").read_text(), "then look up `driver` anew"
    assert "\ndriver=580 " in (ROOT / "src/samebench/runtime.sh").read_text()
    assert "older than 580" in (ROOT / "docs/gpu.md").read_text()


def test_what_is_piped_in_reaches_the_command_in_the_container(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="case $1 in info) echo 26.1.5 ;; run) cat ;; esac")
    piped = ["sh", "-c", "printf one | sh src/samebench/runtime.sh true"]
    assert run(piped, cwd=checkout, path=programs).stdout == "one"


def test_git_gets_the_local_environment_if_that_is_ready_and_not_a_word(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="echo 26.1.5")
    run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"RUNTIME": "local"})
    done = run([*SCRIPT, "--ready", "echo", "hello"], cwd=checkout, path=programs)
    assert (done.stdout, done.stderr) == ("hello\n", "")


def test_git_gets_the_engine_that_has_the_image_if_there_is_no_local_environment(
    checkout: Path, programs: Path
) -> None:
    has_image = 'case "$*" in info*) echo 4.3.1 ;; "image inspect"*) ;; run*) echo in podman ;; esac'
    fake_engines(programs, docker="case $1 in info) echo 26.1.5 ;; *) exit 1 ;; esac", podman=has_image)
    done = run([*SCRIPT, "--ready", "true"], cwd=checkout, path=programs)
    assert (done.stdout, done.stderr) == ("in podman\n", "")


def test_git_gets_what_anybody_gets_where_nothing_is_ready(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="exit 1")
    assert run([*SCRIPT, "--ready", "echo", "hello"], cwd=checkout, path=programs).stdout == "hello\n"
    assert installs(checkout) == 1


def test_local_environment_is_made_once(checkout: Path) -> None:
    for _ in range(2):
        assert run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"}).returncode == 0
    assert installs(checkout) == 1


def test_changed_lock_is_noticed_and_mended(checkout: Path) -> None:
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    with (checkout / "docker/cpu.lock").open("a") as lock:
        lock.write("# changed\n")
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    assert installs(checkout) == 2


def test_interrupted_setup_is_finished_by_the_next_call(checkout: Path) -> None:
    (checkout / "die").touch()
    assert run([*SCRIPT, "echo", "hello"], cwd=checkout, variables={"RUNTIME": "local"}).stdout == ""
    (checkout / "die").unlink()
    assert run([*SCRIPT, "echo", "hello"], cwd=checkout, variables={"RUNTIME": "local"}).stdout == "hello\n"
    assert installs(checkout) == 2


def test_moved_checkout_gets_a_new_environment(checkout: Path, tmp_path: Path) -> None:
    run([*SCRIPT, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    moved = checkout.rename(tmp_path / "moved")
    run([*SCRIPT, "true"], cwd=moved, variables={"RUNTIME": "local"})
    assert installs(moved) == 2


@pytest.mark.skipif(not shutil.which("flock"), reason="no flock here: set-ups at once are not guarded")
def test_two_commands_at_once_set_up_once(checkout: Path) -> None:
    (checkout / "src/samebench/install.sh").write_text("sleep 1\n" + FAKE_INSTALL)
    environment = {k: v for k, v in os.environ.items() if k != "SAMEBENCH"} | {"RUNTIME": "local"}
    both = [
        subprocess.Popen([*SCRIPT, "echo", "done"], cwd=checkout, env=environment, stdout=-1, stderr=-1) for _ in "ab"
    ]
    assert [process.communicate(timeout=60)[0] for process in both] == [b"done\n", b"done\n"]
    assert installs(checkout) == 1


def test_python_of_the_right_version_is_looked_for_and_else_left_to_uv(checkout: Path, programs: Path) -> None:
    version = declared()[0]
    for name in (f"python{version}", "python3"):
        write_program(programs / name, "echo 3.4 /usr/bin/python3.4")
    run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"RUNTIME": "local"})
    assert (checkout / "installed").read_text().split()[0] == version


def test_stale_environment_that_is_active_is_not_made_from_itself(checkout: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    run([*SCRIPT, "true"], cwd=checkout, path=checkout / ".venv/bin", variables={"RUNTIME": "local"})
    python = (checkout / "installed").read_text().split()[0]
    assert Path(python).is_file()
    assert not python.startswith(str(checkout))


def test_local_runtime_sets_what_the_image_sets(checkout: Path) -> None:
    line = 'echo "$ATEN_CPU_CAPABILITY $MKL_CBWR $ONEDNN_MAX_CPU_ISA $CUBLAS_WORKSPACE_CONFIG"'
    line += "; echo $JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS"
    done = run([*SCRIPT, "sh", "-c", line], cwd=checkout, variables={"RUNTIME": "local"})
    assert done.stdout == "avx2 COMPATIBLE AVX2 :4096:8\nfalse\n"


def test_unwritable_checkout_gets_one_line_and_code_3(checkout: Path) -> None:
    for folder in (checkout / "data", checkout):
        folder.chmod(0o555)
    command = SCRIPT
    if os.access(checkout, os.W_OK):  # root may write everywhere, but for one without capabilities
        for parent in checkout.parents[:3]:
            parent.chmod(0o755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *SCRIPT]
    done = run([*command, "true"], cwd=checkout, variables={"RUNTIME": "local"})
    checkout.chmod(0o755)
    assert done.returncode == 3
    remedy = "make it yours (chown), then run the same command again"
    assert done.stderr.splitlines()[1:] == [f"samebench: {checkout}/data: not writable; {remedy}"]


def test_two_dockerfiles_differ_only_in_their_lock() -> None:
    cpu, gpu = ((ROOT / f"docker/{name}.Dockerfile").read_text().splitlines() for name in ("cpu", "gpu"))
    differing = [(a, b) for a, b in zip(cpu, gpu, strict=True) if a != b]
    assert 0 < len(differing) < 10
    assert all(a.replace("docker/cpu.lock", "docker/gpu.lock") == b for a, b in differing[1:]), (
        "line 1 says which it is"
    )


def test_apt_of_an_official_base_is_frozen_at_its_own_snapshot(tmp_path: Path) -> None:
    sources = tmp_path / "debian.sources"
    sources.write_text(
        "Types: deb\n# http://snapshot.example/archive/debian/20260601T000000Z\nURIs: http://mirror.example/debian\n"
        "Suites: bookworm bookworm-updates\n\nTypes: deb\n"
        "# http://snapshot.example/archive/debian-security/20260601T000000Z\nURIs: http://mirror.example/security\n"
    )
    dockerfile = (ROOT / "docker/cpu.Dockerfile").read_text()
    expression = dockerfile.split("sed -i -E '")[1].split("'")[0].replace(r"snapshot/", "snapshot/")
    subprocess.run(["sed", "-i", "-E", expression, sources], check=True)
    text = sources.read_text()
    assert "mirror.example" not in text
    assert text.count("URIs: http://snapshot.example/archive/debian") == 2
    assert text.count("Check-Valid-Until: no") == 2


def test_version_of_python_stands_in_one_place() -> None:
    version = declared()[0]
    where = ["Makefile", "docker/*.Dockerfile", "src", ".devcontainer", "pyproject.toml"]
    named = run(["git", "grep", "-lF", version, "--", *where], cwd=ROOT)
    if named.returncode > 1:
        pytest.skip(f"no git history here: {named.stderr.strip()}")
    assert named.stdout.split() == ["pyproject.toml"]
    assert sys.version_info[:2] == tuple(map(int, version.split(".")))


def test_every_target_is_dry_runnable_and_listed_in_the_help() -> None:
    targets = next(
        line.split()[1:] for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY")
    )
    listed = run(["make"], cwd=ROOT).stdout
    for target in targets:
        done = run(["make", "-n", target, "PKG=x"], cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert f"\n{target} " in f"\n{listed}"


def test_makefile_keeps_to_what_gnu_make_3_81_knows() -> None:
    text = (ROOT / "Makefile").read_text()
    for newer in ("!=", "::=", ".ONESHELL", "$(file", "$(guile", "&:", "$(intcmp", "$(let"):
        assert newer not in text


def test_nothing_but_the_locks_install_and_the_server_reaches_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!") for line in lines[1:-1]}
    server = {f"src/samebench/{name}.py" for name in ("__init__", "command", "cores", "files", "service")}
    server |= {"src/apparel/__init__.py", "src/apparel/serve"}
    locks = {"docker/cpu.lock", "docker/gpu.lock", "docker/serve.lock", "requirements.lock"}
    assert allowed == {*locks, "src/samebench/install.sh", *server}
    assert lines[-1] == "**/__pycache__"
