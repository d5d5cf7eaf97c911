"""The host's side: which runtime is taken and why, and what it refuses."""

from pathlib import Path

import pytest

from .checkout import run
from .fakes import ENGINE, SCRIPT, checkout, fake_engines, installs, programs

__all__ = ["checkout", "programs"]  # fixtures

GIVE_GPU = "give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,"


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


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"PLATFORM": "arm64"}, "PLATFORM=arm64: give linux/amd64 or linux/arm64, or nothing for this machine's"),
        (
            {"PLATFORM": "linux/arm64", "RUNTIME": "local"},
            "PLATFORM=linux/arm64: the local runtime has only this machine's; use docker or podman",
        ),
    ],
)
def test_a_platform_that_can_not_be_had_is_refused(checkout: Path, variables: dict[str, str], line: str) -> None:
    words = [*SCRIPT, "--serve-image", "8000", "true"]
    done = run(words, cwd=checkout, variables=variables)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"samebench: {line}")


@pytest.mark.parametrize("port", ["0", "80", "08888", "1023", "65536", "99999999999999999999", "http", "-1"])
@pytest.mark.parametrize("runtime", ["docker", "local"])
def test_a_port_out_of_range_is_refused_in_every_runtime(
    checkout: Path, programs: Path, runtime: str, port: str
) -> None:
    fake_engines(programs, docker=ENGINE)
    variables = {"RUNTIME": runtime, "PORT": port}
    done = run([*SCRIPT, "--serve", "8888", "true"], cwd=checkout, path=programs, variables=variables)
    assert (done.returncode, done.stderr) == (2, f"samebench: PORT={port}: give a number from 1024 to 65535\n")


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
