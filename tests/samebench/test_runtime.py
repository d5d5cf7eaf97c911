"""`runtime.sh`: which runtime is taken and why, what it refuses, and how the local one is set up."""

import os
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from samebench.lock import declared

from .checkout import INHERITED, ROOT, run
from .fakes import ENGINE, FAKE_INSTALL, SCRIPT, SERVER, checkout, fake_engines, programs, write_program
from .server import wait_for

__all__ = ["checkout", "programs"]  # fixtures

GIVE_GPU = "give GPU=1 for all GPUs, or a list such as GPU=0,2 or GPU=2,"


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
    words = [*SCRIPT, "--serve-image", "apparel-serve", "8000", "apparel.serve", "true"]
    done = run(words, cwd=checkout, variables=variables)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"samebench: {line}")


def test_files_in_the_container_belong_to_the_host_user_and_nothing_is_granted(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs).stdout.splitlines()
    assert words[words.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert {"no-new-privileges", "--read-only", "--init", "--pids-limit"} <= set(words)
    assert f'type=bind,"source={checkout}",target=/workspace' in words, "quoted: a path may have a comma"


@pytest.mark.parametrize("name", ["DATA", "FROM", "INIT", "RUN", "WITH"])
def test_a_path_outside_the_checkout_is_mounted_read_only_under_its_own_name(
    checkout: Path, programs: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "a teammate's").mkdir()
    link = tmp_path / "link"
    link.symlink_to("a teammate's")
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: str(link)}).stdout.splitlines()
    assert f'type=bind,"source={link.resolve()}","target={link}",readonly' in words
    assert name != "DATA" or f"DATA={link}" in words, "a notebook asks for it there"


def test_of_a_table_outside_the_checkout_the_folder_is_mounted(checkout: Path, programs: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    table = tmp_path / "photos/all.csv"
    table.touch()
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"FROM": str(table)}).stdout.splitlines()
    assert f'type=bind,"source={table.parent}","target={table.parent}",readonly' in words


@pytest.mark.parametrize("name", ["DATA", "FROM", "INIT", "RUN", "WITH"])
def test_an_absolute_path_in_the_checkout_can_be_written(checkout: Path, programs: Path, name: str) -> None:
    fake_engines(programs, docker=ENGINE)
    inside = checkout / "runs/1"
    inside.mkdir(parents=True)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: str(inside)}).stdout.splitlines()
    assert f'type=bind,"source={inside}","target={inside}"' in words


@pytest.mark.parametrize("name", ["DATA", "FROM", "INIT", "RUN", "WITH"])
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
    assert all(a.replace("docker/cpu.", "docker/gpu.") == b for a, b in differing[1:]), "line 1 says which it is"


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
    server = {
        f"src/samebench/{name}.py" for name in ("__init__", "command", "cores", "environment", "files", "service")
    }
    server |= {"src/apparel/__init__.py", "src/apparel/serve"}
    locks = {"docker/cpu.lock", "docker/gpu.lock", "docker/serve.lock", "requirements.lock"}
    told = {"docker/cpu.Dockerfile", "docker/gpu.Dockerfile"}  # by the fingerprint in the image
    assert allowed == {*locks, *told, "src/samebench/install.sh", *server}
    assert lines[-1] == "**/__pycache__"
