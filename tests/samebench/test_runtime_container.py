"""The host's side: what a container gets and sees of the machine, and that it is gone when it is told to end."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.commands import open_to_others

from .checkout import INHERITED, ROOT, run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs, write_program
from .server import wait_for

__all__ = ["checkout", "programs"]  # fixtures


def test_files_in_the_container_belong_to_the_host_user_and_nothing_is_granted(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs).stdout.splitlines()
    assert words[words.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert words[words.index("--cap-drop") + 1] == "ALL"
    assert {"no-new-privileges", "--read-only", "--init", "--pids-limit"} <= set(words)
    assert f'type=bind,"source={checkout}","target=/workspace"' in words, "quoted: a path may have a comma"


def test_every_path_is_a_field_of_csv(checkout: Path, programs: Path) -> None:
    moved = checkout.rename(checkout.with_name('a "b", $c: it\'s'))
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=moved, path=programs).stdout.splitlines()
    (mount,) = [word for word in words if word.endswith('target=/workspace"')]
    assert next(csv.reader([mount])) == ["type=bind", f"source={moved}", "target=/workspace"]


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


def test_a_run_outside_the_checkout_that_is_resumed_can_be_written(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    fake_engines(programs, docker=ENGINE)
    variables = {"RESUME": f"{tmp_path}/run"}
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables).stdout.splitlines()
    assert f'type=bind,"source={tmp_path}/run","target={tmp_path}/run"' in words


def test_a_run_on_data_outside_the_checkout_is_resumed_with_both_seen(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (checkout / "runs/1").mkdir(parents=True)
    fake_engines(programs, docker=ENGINE)
    resume = ["make", "train", "RESUME=runs/1", f"DATA={programs}", f"INIT={programs}"]
    words = run(resume, cwd=checkout, path=programs).stdout.splitlines()
    assert f'type=bind,"source={programs}","target={programs}",readonly' in words
    assert words[words.index("--resume") + 1] == "runs/1"
    assert words[words.index("--data") + 1] == str(programs)
    assert ("--init", str(programs)) in pairwise(words)


@pytest.mark.parametrize("name", ["DATA", "FROM", "INIT", "RESUME", "RUN", "WITH"])
def test_an_absolute_path_in_the_checkout_can_be_written(checkout: Path, programs: Path, name: str) -> None:
    fake_engines(programs, docker=ENGINE)
    inside = checkout / "runs/1"
    inside.mkdir(parents=True)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={name: str(inside)}).stdout.splitlines()
    assert f'type=bind,"source={inside}","target={inside}"' in words


@pytest.mark.parametrize("name", ["DATA", "FROM", "INIT", "RESUME", "RUN", "WITH"])
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
    piped = ["sh", "-c", f"printf one | {shlex.join(SCRIPT)} true"]
    assert run(piped, cwd=checkout, path=programs).stdout == "one"


def in_git(*words: str | Path, cwd: Path) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "protocol.file.allow=always"]
    assert run(["git", *identity, *words], cwd=cwd).returncode == 0


@pytest.fixture
def worktree(checkout: Path, tmp_path: Path) -> Path:
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "First"]):
        in_git(*words, cwd=checkout)
    in_git("worktree", "add", "--quiet", "-b", "other", tmp_path / "a tree", cwd=checkout)
    return tmp_path / "a tree"


def test_the_repository_of_a_worktree_can_not_be_written_in_a_container(
    worktree: Path, checkout: Path, programs: Path
) -> None:
    fake_engines(programs, docker=ENGINE)
    words = run(["make", "runs"], cwd=worktree, path=programs).stdout.splitlines()
    assert f'type=bind,"source={checkout}/.git","target={checkout}/.git",readonly' in words
    assert not [word for word in words if f"{checkout}/.git" in word and "readonly" not in word]


def test_a_container_to_which_nobody_listens_any_more_is_stopped(checkout: Path, programs: Path) -> None:
    answers = 'ps) echo "$@" >asked; echo c1 ;; stop) echo "$@" >done ;;'
    fake_engines(programs, docker=f"case $1 in info) echo 1 ;; run) kill -PIPE $$ ;; {answers} esac")
    assert run([*SCRIPT, "true"], cwd=checkout, path=programs).returncode == 128 + signal.SIGPIPE
    assert (checkout / "asked").read_text().startswith("ps --quiet --filter label=samebench.call=")
    assert (checkout / "done").read_text() == "stop --time 5 c1\n"


def test_a_worktree_has_a_devcontainer_with_its_repository(
    worktree: Path, checkout: Path, programs: Path, tmp_path: Path
) -> None:
    fake_engines(programs, docker=ENGINE)
    shutil.copytree(ROOT / ".devcontainer", worktree / ".devcontainer", ignore=shutil.ignore_patterns("worktree*"))
    (tmp_path / "outside").mkdir()
    (worktree / ".devcontainer/worktree").symlink_to(tmp_path / "outside")  # as a branch may have it
    done = run([*SCRIPT, "--devcontainer"], cwd=worktree, path=programs)
    assert done.returncode == 0, done.stderr
    made = json.loads((worktree / ".devcontainer/worktree/devcontainer.json").read_text())
    assert f'--mount=type=bind,"source={checkout}/.git","target={checkout}/.git",readonly' in made["runArgs"]
    assert made["image"] == "samebench:cpu"
    assert "postCreateCommand" not in made, "it would write into the repository"
    assert not list((tmp_path / "outside").iterdir())


def test_a_repository_that_no_container_sees_is_told_before_any_work(
    worktree: Path, checkout: Path, programs: Path
) -> None:
    fake_engines(programs, docker=ENGINE)
    checkout.rename(checkout.with_name("elsewhere"))
    done = run(["make", "runs"], cwd=worktree, path=programs)
    assert done.stderr.splitlines()[1] == (
        f"samebench: git: the repository that {worktree}/.git names is not there or not yours, "
        "so no commit is recorded; git status says more"
    )


# What engines say of a port that they can't publish; Docker Desktop's is of a port that Windows has reserved.
REFUSED_PORTS = {
    "docker: Error response from daemon: Bind for 127.0.0.1:8888 failed: port is already allocated.": "taken",
    "Error: rootlessport listen tcp 127.0.0.1:8888: bind: address already in use": "taken",
    "docker: Error response from daemon: Ports are not available: exposing port TCP 127.0.0.1:8888 -> 0.0.0.0:0: "
    "listen tcp 127.0.0.1:8888: bind: An attempt was made to access a socket in a way forbidden by its "
    "access permissions.": "reserved on this machine",
    "Error: rootlessport listen tcp 127.0.0.1:8888: bind: permission denied": "reserved on this machine",
}


@pytest.mark.parametrize(("answer", "said"), REFUSED_PORTS.items())
def test_a_port_that_can_not_be_had_is_stepped_over(checkout: Path, programs: Path, answer: str, said: str) -> None:
    refusing = SERVER.replace("run)", f'run) case "$*" in *127.0.0.1:8888:*) echo "{answer}" >&2; exit 125 ;; esac;')
    fake_engines(programs, docker=refusing)
    done = run([*SCRIPT, "--serve", "8888", "true"], cwd=checkout, path=programs, variables={"RUNTIME": "docker"})
    assert done.returncode == 0, done.stderr
    assert f"samebench: port 8888 is {said}, trying 8889\n" in done.stderr
    assert "127.0.0.1:8889:8888" in (checkout / "asked").read_text()


ROOTLESS = ENGINE.replace("echo 26.1.5", "echo name=rootless")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user of other groups")
@pytest.mark.parametrize(("docker", "groups"), [(ENGINE, ["998", "2000"]), (ROOTLESS, [])])
def test_the_users_other_groups_go_along(checkout: Path, programs: Path, docker: str, groups: list[str]) -> None:
    fake_engines(programs, docker=docker)
    open_to_others(programs)
    for folder in (checkout, checkout / "data"):
        folder.chmod(0o777)
    user = ["setpriv", "--reuid=1001", "--regid=1001", "--groups=1001,998,2000"]
    done = run([*user, *SCRIPT, "true"], cwd=checkout, path=programs, variables={"RUNTIME": "docker"})
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    assert [words[at + 1] for at, word in enumerate(words) if word == "--group-add"] == groups
