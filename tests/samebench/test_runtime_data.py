"""`runtime.sh`: what a container sees of where versions of the data are kept."""

import socket
import tempfile
from pathlib import Path

from .checkout import run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures


def asked(checkout: Path, programs: Path, **variables: str) -> list[str]:
    """What the engine was asked to run."""
    fake_engines(programs, docker=ENGINE)
    return run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables).stdout.splitlines()


def test_a_remote_that_is_a_directory_is_seen_and_can_be_written(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    remote = tmp_path / "the team's"
    remote.mkdir()
    words = asked(checkout, programs, DATA_REMOTE=str(remote))
    assert f'type=bind,"source={remote}","target={remote}"' in words
    assert "DATA_REMOTE" in words


def test_the_cache_and_the_remote_that_the_checkout_names_are_seen_once_each(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (checkout / ".dvc").mkdir(exist_ok=True)
    for name in ("cache", "remote"):
        (tmp_path / name).mkdir()
    (checkout / ".dvc/config").write_text(f"['remote \"team\"']\n    url = {tmp_path}/remote\n    url = /not/there\n")
    (checkout / ".dvc/config.local").write_text(f"[cache]\n\tdir = '{tmp_path}/cache'\n")
    words = asked(checkout, programs, DATA_REMOTE=f"{tmp_path}/remote")
    mounts = [word for word in words if f"source={tmp_path}/" in word and "/workspace" not in word]
    assert sorted(mounts) == [
        f'type=bind,"source={tmp_path}/{name}","target={tmp_path}/{name}"' for name in ("cache", "remote")
    ]


def test_a_remote_that_no_container_could_see_is_refused(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    for given, said in (("/nowhere", "no such directory"), ("../bin", "out of the checkout")):
        done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"DATA_REMOTE": given})
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[1].startswith(f"samebench: DATA_REMOTE={given}: {said}")


def test_a_folder_that_the_container_has_itself_is_refused(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    with tempfile.NamedTemporaryFile(suffix=".csv", dir="/tmp") as table:
        for variables in ({"FROM": table.name}, {"DATA": "/tmp"}, {"RUN": "/"}):  # noqa: S108 - the container has its own
            done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables=variables)
            assert (done.returncode, done.stdout) == (2, "")
            assert "all of it, in the place of the container's own" in done.stderr.splitlines()[-1]


def test_a_command_reaches_the_agent_for_a_remote_over_ssh_and_nothing_else_does(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").touch()
    (tmp_path / ".ssh/id_ed25519").touch()
    agent = tmp_path / "agent"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        variables = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": str(agent)}
        words = asked(checkout, programs, DATA_REMOTE="ssh://me@host/data", **variables)
        assert f'type=bind,"source={agent}",target=/tmp/agent' in words
        assert f'type=bind,"source={tmp_path}/.ssh/known_hosts",target=/tmp/.ssh/known_hosts,readonly' in words
        assert not [word for word in words if "id_ed25519" in word]
        (checkout / ".dvc").mkdir(exist_ok=True)
        (checkout / ".dvc/config").write_text("#     url = ssh://data@host/srv/data\n")
        assert not [word for word in asked(checkout, programs, **variables) if "agent" in word]
        fake_engines(programs, docker=SERVER)
        serve = [*SCRIPT, "--serve", "8888", "true"]
        run(serve, cwd=checkout, path=programs, variables={**variables, "DATA_REMOTE": "ssh://me@host/data"})
        assert "SSH_AUTH_SOCK=" not in (checkout / "asked").read_text()


def test_wheels_for_what_is_installed_in_the_container_are_seen_there(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    words = asked(checkout, programs, WHEELHOUSE=str(tmp_path / "wheels"))
    assert f'type=bind,"source={tmp_path}/wheels",target=/tmp/wheelhouse,readonly' in words
    assert "WHEELHOUSE=/tmp/wheelhouse" in words
