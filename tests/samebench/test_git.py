import os
import subprocess
from pathlib import Path

import pytest

from samebench.core.git import GitError, NoRepositoryError, patch, run_git
from tests.commands import STRANGER


def git(at: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=at, check=True, capture_output=True, text=True).stdout


def make_repository(at: Path, content: str = "one\n") -> Path:
    """A repository with one commit of one file, `name.txt`."""
    at.mkdir(parents=True)
    git(at, "init", "--quiet")
    (at / "name.txt").write_text(content)
    git(at, "add", ".")
    git(at, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "--message", "all")
    return at


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    return make_repository(tmp_path / "a work")


def test_git_says_what_it_says(repository: Path) -> None:
    assert run_git("rev-parse", "HEAD", root=repository).decode() == git(repository, "rev-parse", "HEAD")
    assert run_git("rev-parse", "--verify", "--quiet", "other", root=repository, codes=(0, 1)) == b""


def test_a_folder_in_no_repository_is_told_from_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(NoRepositoryError, match="in no git repository; make one with git init"):
        run_git("rev-parse", "HEAD", root=tmp_path)


def test_a_machine_without_git_is_told_from_a_failure(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoRepositoryError, match="git: not installed here; install it"):
        run_git("rev-parse", "HEAD", root=repository)


def damage_index(repository: Path) -> None:
    (repository / ".git/index").write_bytes(b"nonsense")


def lose_repository(repository: Path) -> None:
    (repository / ".git").rename(repository / "away")
    (repository / ".git").write_text("gitdir: /not/there/.git/worktrees/work\n")


def give_away(repository: Path) -> None:
    try:
        os.chown(repository, STRANGER, STRANGER)
        os.chown(repository / ".git", STRANGER, STRANGER)
    except PermissionError:
        pytest.skip("only root with its capabilities may give a folder to another user")


@pytest.mark.parametrize(
    ("break_it", "reason", "remedy"),
    [
        (damage_index, "index file smaller than expected", "git status there says more"),
        (lose_repository, "not a git repository: /not/there", "git status there says more"),
        (give_away, "dubious ownership", "git config --global --add safe.directory "),
    ],
)
def test_a_failure_is_one_line_with_the_reason_and_the_remedy(
    break_it: object, reason: str, remedy: str, repository: Path
) -> None:
    assert callable(break_it)
    break_it(repository)
    with pytest.raises(GitError) as failure:
        run_git("ls-files", root=repository)
    line = str(failure.value)
    assert not isinstance(failure.value, NoRepositoryError)
    assert line.startswith(f"{repository}: git ls-files failed (")
    assert reason in line
    assert f"; {remedy}" in line
    assert len(line.splitlines()) == 1


def test_the_variables_of_a_hook_lead_to_no_other_repository(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_repository(tmp_path / "other", "two\n")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nothing"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    assert run_git("ls-files", ":(exclude)*.md", root=repository) == b"name.txt\n"
    assert run_git("show", "HEAD:name.txt", root=repository) == b"one\n"


def test_no_program_that_settings_name_is_started(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, trace = tmp_path / "program", tmp_path / "trace"
    program.write_text(f"#!/bin/sh\necho started >>'{trace}'\ncat \"$1\" 2>/dev/null\n")
    program.chmod(0o755)
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", str(program))
    monkeypatch.setenv("GIT_PAGER", str(program))
    for name in ("core.fsmonitor", "diff.external", "diff.text.command", "diff.text.textconv"):
        git(repository, "config", name, str(program))
    (repository / ".git/info/attributes").write_text("*.txt diff=text\n")
    (repository / "name.txt").write_text("two\n")
    assert b"+two" in patch("HEAD", root=repository)
    assert not trace.exists()
