"""The host's side: what a container sees of where versions of the data are kept."""

import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from .checkout import run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures


PUSH = ("python", "-m", "samebench.data.versions", "push")
TRAIN = ("python", "-m", "samebench.training")


def asked(checkout: Path, programs: Path, *words: str, **variables: str) -> list[str]:
    """What the engine was asked to run."""
    fake_engines(programs, docker=ENGINE)
    return run([*SCRIPT, *(words or TRAIN)], cwd=checkout, path=programs, variables=variables).stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "rights"),
    [(TRAIN, "readonly"), (PUSH, "readonly=false"), ((*PUSH, "shoes"), "readonly=false"), (["bash"], "readonly=false")],
)
def test_a_remote_that_is_a_directory_is_seen_and_can_be_written_by_who_pushes(
    words: Sequence[str], rights: str, checkout: Path, programs: Path, tmp_path: Path
) -> None:
    remote = tmp_path / "the team's"
    remote.mkdir()
    told = asked(checkout, programs, *words, DATA_REMOTE=str(remote))
    assert f'type=bind,"source={remote}","target={remote}",{rights}' in told
    assert "DATA_REMOTE" in told


@pytest.mark.parametrize(
    ("remote", "cache"),
    [
        ("{}/remote", "'{}/cache'"),
        ("{}/remote  # the team's", '"{}/cache"'),
        ('"{}/remote"  # the "team"', "{}/cache#"),
    ],
)
def test_the_cache_and_the_remote_that_the_checkout_names_are_seen_once_each(
    remote: str, cache: str, checkout: Path, programs: Path, tmp_path: Path
) -> None:
    remote, cache = remote.format(tmp_path), cache.format(tmp_path)
    (checkout / ".dvc").mkdir(exist_ok=True)
    for name in ("cache", "remote"):
        (tmp_path / name).mkdir()
    (checkout / ".dvc/config").write_text(
        f"[cache]\n\tdir = {tmp_path}/a stranger's\n['remote \"team\"']\n    url = {remote}\n    url = /not/there\n"
    )
    (tmp_path / "a stranger's").mkdir()
    (checkout / ".dvc/config.local").write_text(f"[cache]\n\tdir = {cache}\n")
    words = asked(checkout, programs, DATA_REMOTE=f"{tmp_path}/remote")
    mounts = [word for word in words if f"source={tmp_path}/" in word and "/workspace" not in word]
    assert sorted(mounts) == [
        f'type=bind,"source={tmp_path}/{name}","target={tmp_path}/{name}",{rights}'
        for name, rights in (("cache", "readonly=false"), ("remote", "readonly"))
    ]


def test_a_remote_that_is_the_cache_can_be_written(checkout: Path, programs: Path, tmp_path: Path) -> None:
    (checkout / ".dvc").mkdir(exist_ok=True)
    (checkout / ".dvc/config.local").write_text(f"[cache]\n\tdir = {tmp_path}\n")
    words = asked(checkout, programs, DATA_REMOTE=str(tmp_path))
    assert [word for word in words if f"target={tmp_path}" in word] == [
        f'type=bind,"source={tmp_path}","target={tmp_path}",readonly=false'
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


CARRIED = ("data", "data-push", "data-diff", "train", "sweep", "evaluate", "reproduce", "export", "compare")
OTHERS = ("shell", "test", "lint", "format", "runs", "note", "prune", "fingerprint", "lock", "data-add")


def test_only_a_target_that_carries_data_reaches_the_agent(checkout: Path, programs: Path, tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").touch()
    (tmp_path / ".ssh/id_ed25519").touch()
    (checkout / ".dvc").mkdir(exist_ok=True)
    config = checkout / ".dvc/config"
    config.write_text("['remote \"team\"']\n    url = ssh://data@host/srv/data\n")
    agent = tmp_path / "agent"
    mount = f'type=bind,"source={agent}","target=/tmp/agent"'
    variables = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": str(agent)}
    fake_engines(programs, docker=ENGINE)

    def asked_by(target: str, **more: str) -> list[str]:
        done = run(["make", target], cwd=checkout, path=programs, variables={**variables, **more})
        return done.stdout.splitlines()

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(agent))
        for target in CARRIED:
            words = asked_by(target)
            assert mount in words, target
            assert f'type=bind,"source={tmp_path}/.ssh/known_hosts","target=/tmp/.ssh/known_hosts",readonly' in words
            assert not [word for word in words if "id_ed25519" in word]
        for target in OTHERS:
            assert not [word for word in asked_by(target) if "agent" in word], target
        config.write_text("#     url = ssh://data@host/srv/data\n")
        assert mount not in asked_by("data")
        assert mount in asked_by("data", DATA_REMOTE="ssh://me@host/data")
        fake_engines(programs, docker=SERVER)
        asked_by("notebook", DATA_REMOTE="ssh://me@host/data")
        assert "SSH_AUTH_SOCK=" not in (checkout / "asked").read_text()


def test_wheels_for_what_is_installed_in_the_container_are_seen_there(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    (tmp_path / "wheels").mkdir()
    words = asked(checkout, programs, WHEELHOUSE=str(tmp_path / "wheels"))
    assert f'type=bind,"source={tmp_path}/wheels","target=/tmp/wheelhouse",readonly' in words
    assert "WHEELHOUSE=/tmp/wheelhouse" in words
