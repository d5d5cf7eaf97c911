"""[tool.samebench.container] and .samebench/local.toml: what a team and a user add to the workspace's containers."""

from itertools import pairwise
from pathlib import Path

import pytest

from .checkout import run
from .fakes import ENGINE, SCRIPT, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures


def team(checkout: Path, *lines: str) -> None:
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("\n".join(["", "[tool.samebench.container]", *lines, ""]))


def user(checkout: Path, *lines: str) -> None:
    (checkout / ".samebench").mkdir(exist_ok=True)
    (checkout / ".samebench/local.toml").write_text("\n".join(["[container]", *lines, ""]))


def test_a_team_and_a_user_add_variables_mounts_memory_and_words(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "the team's, photos"
    photos.mkdir()
    team(checkout, 'env = ["WANDB_API_KEY", "NOT_SET"]', f'mounts = ["{photos}:/photos:ro"]', 'shm_size = "2g"')
    user(checkout, f'mounts = ["{tmp_path}:/mine"]', 'shm_size = "8g"', 'extra_args = ["--ulimit", "memlock=-1"]')
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs, variables={"WANDB_API_KEY": "secret-1"})
    words = done.stdout.splitlines()
    assert {("--env", "WANDB_API_KEY"), ("--shm-size", "8g"), ("--ulimit", "memlock=-1")} <= set(pairwise(words))
    assert ("--mount", f'type=bind,"source={photos}","target=/photos",readonly') in pairwise(words)
    assert ("--mount", f'type=bind,"source={tmp_path}","target=/mine"') in pairwise(words)
    assert "NOT_SET" not in words
    assert "secret-1" not in done.stdout


def test_without_a_word_there_is_a_gigabyte_of_shared_memory(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=ENGINE)
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs).stdout.splitlines()
    assert ("--shm-size", "1g") in pairwise(words)


def test_a_devcontainer_has_the_variables(checkout: Path, programs: Path) -> None:
    team(checkout, 'env = ["WANDB_API_KEY", "NOT_SET"]')
    fake_engines(programs, docker=ENGINE)
    done = run([*SCRIPT, "--devcontainer"], cwd=checkout, path=programs, variables={"WANDB_API_KEY": "secret-1"})
    assert done.returncode == 0, done.stderr
    assert (checkout / ".samebench/devcontainer.env").read_text() == "WANDB_API_KEY=secret-1\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('env = "WANDB_API_KEY"', 'env: WANDB_API_KEY is no list; give env = ["…"]'),
        ('env = ["wandb=1"]', "env: wandb=1 is no variable's name; give capital letters, digits and _"),
        ('env = ["LD_PRELOAD"]', "env: LD_PRELOAD decides what is done or what comes out"),
        ('mounts = ["/etc"]', "mounts: /etc is no mount; give /from:/to, or /from:/to:ro"),
        ('mounts = ["/etc:/etc:r"]', "mounts: /etc:/etc:r is no mount"),
        ('mounts = ["/nowhere:/mnt"]', "mounts: /nowhere is not there; make it, or take the mount out"),
        ('mounts = ["/etc:/workspace/"]', "mounts: /etc:/workspace/: /workspace/ is the container's own"),
        ('shm_size = "much"', 'shm_size: much is no size; give one such as shm_size = "8g"'),
        ("shm_size = 8", 'shm_size: 8 is no size; give one such as shm_size = "8g"'),
        ('volumes = ["/a:/b"]', "volumes: no such option; give env, mounts, extra_args or shm_size"),
    ],
)
def test_what_is_no_option_gets_one_line(checkout: Path, programs: Path, line: str, said: str) -> None:
    fake_engines(programs, docker=ENGINE)
    for write, where in (
        (user, ".samebench/local.toml, [container]"),
        (team, "pyproject.toml, [tool.samebench.container]"),
    ):
        write(checkout, line)
        done = run([*SCRIPT, "true"], cwd=checkout, path=programs)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines()[1:][0].startswith(f"samebench: {where}: {said}")
        assert done.stderr.count("\n") == 2
        (checkout / ".samebench/local.toml").unlink(missing_ok=True)


def test_a_command_that_is_killed_gets_a_line_and_the_way_on(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker="case $1 in info) echo 26.1.5 ;; run) exit 137 ;; esac")
    done = run([*SCRIPT, "true"], cwd=checkout, path=programs)
    assert done.returncode == 3
    line = done.stderr.splitlines()[-1]
    assert line.startswith("samebench: the command was killed (SIGKILL), as a system does that has no memory left")
    assert line.endswith("make train RESUME=latest")
