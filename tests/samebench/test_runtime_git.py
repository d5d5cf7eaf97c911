"""What git in a container has of the host's git: who commits, in the user's own shell and JupyterLab; no program."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from .checkout import run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures

HOST = """
[user]
    name = Jane "Doe" [x]; rm -rf /
    email = jane@example.com
    signingKey = ~/.ssh/id.pub
[gpg]
    format = ssh
[gpg "ssh"]
    program = /host/program
[core]
    pager = /host/program
[alias]
    st = !/host/program
"""
KEY = "ssh-ed25519 AAAAC3 jane"


@pytest.fixture
def host(checkout: Path, tmp_path: Path) -> dict[str, str]:
    """The variables of a user of the checkout, a clone, who has set git up."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".gitconfig").write_text(HOST)
    (home / ".ssh/id.pub").write_text(f"{KEY}\n")
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    return {"HOME": str(home)}


def asked(checkout: Path, programs: Path, host: dict[str, str], *words: str) -> list[str]:
    """What the engine is asked to run for the command `words`."""
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, *words], cwd=checkout, path=programs, variables=host)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def inside(checkout: Path, option: str) -> str:
    """The value of `option` for git that reads what a container is given."""
    variables = {**os.environ, "GIT_CONFIG_SYSTEM": str(checkout / ".samebench/git/system"), "HOME": "/nowhere"}
    done = subprocess.run(["git", "config", option], cwd="/", env=variables, capture_output=True, text=True)
    return done.stdout.strip()


def test_git_in_make_shell_knows_who_commits_and_with_which_key(
    checkout: Path, programs: Path, host: dict[str, str]
) -> None:
    assert "GIT_CONFIG_SYSTEM=/workspace/.samebench/git/system" in asked(checkout, programs, host, "bash")
    assert inside(checkout, "user.name") == "Jane Doe [x]"
    assert inside(checkout, "user.email") == "jane@example.com"
    assert (inside(checkout, "gpg.format"), inside(checkout, "user.signingKey")) == ("ssh", f"key::{KEY}")
    assert "/host/program" not in (checkout / ".samebench/git/system").read_text()


def test_git_in_jupyterlab_knows_it_too_and_in_a_training_it_does_not(
    checkout: Path, programs: Path, host: dict[str, str]
) -> None:
    fake_engines(programs, docker=SERVER)
    words = [*SCRIPT, "--serve", "8888", "python", "-m", "samebench.workspace.notebook"]
    assert run(words, cwd=checkout, path=programs, variables=host).returncode == 0
    assert "GIT_CONFIG_SYSTEM=" in (checkout / "asked").read_text()
    assert inside(checkout, "user.email") == "jane@example.com"
    assert "GIT_CONFIG" not in " ".join(asked(checkout, programs, host, "python", "-m", "samebench.training"))


def test_the_agent_is_handed_over_where_the_user_says_so(checkout: Path, programs: Path, host: dict[str, str]) -> None:
    agent = programs / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        variables = {**host, "SSH_AUTH_SOCK": str(agent)}
        assert str(agent) not in " ".join(asked(checkout, programs, variables, "bash"))
        variables["AGENT"] = "1"
        assert f'type=bind,"source={agent}","target=/tmp/agent"' in asked(checkout, programs, variables, "bash")
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, "bash"], cwd=checkout, path=programs, variables={**host, "AGENT": "1", "SSH_AUTH_SOCK": ""})
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("samebench: AGENT=1: no SSH agent answers here; start one")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a checkout to another user")
def test_a_checkout_of_another_user_is_trusted_inside_where_the_host_trusts_it(
    checkout: Path, programs: Path, host: dict[str, str]
) -> None:
    trust = {f"GIT_CONFIG_{rest}" for rest in ("COUNT=1", "KEY_0=safe.directory", "VALUE_0=/workspace")}
    assert not trust & set(asked(checkout, programs, host, "true"))
    for path in (checkout, checkout / ".git"):
        os.chown(path, 1234, 1234)
    assert not trust & set(asked(checkout, programs, host, "true"))
    subprocess.run(
        ["git", "config", "--global", "--add", "safe.directory", checkout], check=True, env={**os.environ, **host}
    )
    assert trust <= set(asked(checkout, programs, host, "true"))


def test_make_hooks_says_what_keeps_git_from_working(checkout: Path, host: dict[str, str]) -> None:
    words = [*SCRIPT, "--hooks"]
    if os.getuid() == 0:
        os.chown(checkout, 1234, 1234)
        os.chown(checkout / ".git", 1234, 1234)
        (line,) = run(words, cwd=checkout, variables=host).stderr.splitlines()
        assert "git does not trust" in line
        remedy = line.split("if you do: ")[1].removesuffix(" && make hooks")
        assert run(["sh", "-c", remedy], cwd=checkout, variables=host).returncode == 0
        assert run(["git", "status"], cwd=checkout, variables=host).returncode == 0
        os.chown(checkout, 0, 0)
    (checkout / ".git").rename(checkout / "away")
    (checkout / ".git").write_text("gitdir: /not/mounted/.git/worktrees/mine\n")
    (line,) = run(words, cwd=checkout, variables=host).stderr.splitlines()
    assert "is not here, as this is a worktree or a submodule; commit on the host, or open the devcontainer of" in line
