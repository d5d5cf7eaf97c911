"""The user's own variables in .env: they reach what runs, and nothing that is kept or shown."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from samebench.host import dotenv
from samebench.host.errors import UsageError
from samebench.runs import source_tree

from .checkout import ROOT, run
from .fakes import ENGINE, SCRIPT, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures

VALUE = "qwertz-3141592653"
SHELL = ["sh", "-c", 'printf "%s\\n" "$WANDB_PROJECT"']


def local(checkout: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run([*SCRIPT, *words], cwd=checkout, variables={"RUNTIME": "local", **variables})


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (f"WANDB_PROJECT={VALUE}", VALUE),
        (f"  export WANDB_PROJECT={VALUE}  # of the team", VALUE),
        (f'WANDB_PROJECT="{VALUE} # 1"  # of the team', f"{VALUE} # 1"),
        ("WANDB_PROJECT='a \"b\" c'\r", 'a "b" c'),
        ("WANDB_PROJECT=a#b=c", "a#b=c"),
        ("WANDB_PROJECT=$(touch ran) `touch ran` ${HOME} \\n ~ *", "$(touch ran) `touch ran` ${HOME} \\n ~ *"),
        ("WANDB_PROJECT=", ""),
        ("WANDB_PROJECT=größe", "größe"),
    ],
)
def test_a_value_reaches_the_command_as_it_is_written(checkout: Path, line: str, value: str) -> None:
    (checkout / ".env").write_text(f"# ours\n\n{line}", newline="")
    done = local(checkout, *SHELL)
    assert done.stdout == f"{value}\n"
    assert not (checkout / "ran").exists()


def test_a_variable_of_the_shell_wins(checkout: Path) -> None:
    (checkout / ".env").write_text(f"WANDB_PROJECT={VALUE}\n")
    assert local(checkout, *SHELL, WANDB_PROJECT="mine").stdout == "mine\n"


def test_the_engine_is_given_names_and_no_values(checkout: Path, programs: Path) -> None:
    (checkout / ".env").write_text(f"WANDB_PROJECT={VALUE}\nHF_TOKEN='{VALUE}'\n")
    fake_engines(programs, docker=f'[ "$1" != run ] || printf "%s\\n" "$WANDB_PROJECT" >"{programs}/client"; {ENGINE}')
    words = run([*SCRIPT, "true"], cwd=checkout, path=programs).stdout.splitlines()
    assert {words[at + 1] for at, word in enumerate(words) if word == "--env"} >= {"WANDB_PROJECT", "HF_TOKEN"}
    assert VALUE not in " ".join(words)
    assert (programs / "client").read_text() == f"{VALUE}\n"


def test_a_server_has_them_too(checkout: Path, programs: Path) -> None:
    (checkout / ".env").write_text(f"WANDB_PROJECT={VALUE}\n")
    fake_engines(programs, docker=SERVER)
    words = [*SCRIPT, "--serve", "8888", "python", "-m", "samebench.workspace.notebook"]
    assert run(words, cwd=checkout, path=programs).returncode == 0
    asked = (checkout / "asked").read_text()
    assert "--env\nWANDB_PROJECT\n" in asked
    assert VALUE not in asked


def names_of_make() -> list[str]:
    """The variables of the Makefile that decide what it does, or where."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    lists = [re.findall(rf"^{name} := (.*)$", text, re.MULTILINE)[0] for name in ("SWITCHES", "ACTIONS", "MACHINE")]
    names = {word.replace("%", "X") for words in lists for word in words.split() if "$" not in word}
    assert len(names) > 40
    return sorted(name for name in names if name.isupper())


def test_what_decides_what_is_done_or_comes_out_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        *names_of_make(), "ATEN_CPU_CAPABILITY", "BASH_ENV", "CUBLAS_WORKSPACE_CONFIG", "GIT_SSH_COMMAND", "LD_PRELOAD",
        "OMP_NUM_THREADS", "PYTHONPATH", "RANK", "SAMEBENCH", "SSH_AUTH_SOCK", "TORCH_LOGS",
    ):  # fmt: skip
        (tmp_path / ".env").write_text(f"HF_TOKEN={VALUE}\n{name}={VALUE}\n")
        with pytest.raises(UsageError, match=rf"^\.env:2: {name} can't stand in there: [^=]*$") as refused:
            dotenv.read()
        assert VALUE not in str(refused.value)


def test_a_refused_line_ends_the_command_and_shows_no_value(checkout: Path) -> None:
    (checkout / ".env").write_text(f"HF_TOKEN={VALUE}\nLD_PRELOAD={VALUE}\n")
    done = local(checkout, "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("samebench: .env:2: LD_PRELOAD can't stand in there: ")
    assert VALUE not in done.stderr


@pytest.mark.parametrize(
    "line", [VALUE, f"={VALUE}", f"A B={VALUE}", f"image={VALUE}", f"HF_TOKEN='{VALUE}", f'HF_TOKEN="a"{VALUE}']
)
def test_a_line_that_is_none_is_refused_by_its_number_and_not_shown(checkout: Path, line: str) -> None:
    (checkout / ".env").write_text(f"\n{line}\n")
    done = local(checkout, "true")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("samebench: .env:2: ")
    assert VALUE not in done.stderr


def test_the_devcontainer_has_them_in_a_file_that_only_the_user_may_read(checkout: Path, programs: Path) -> None:
    (checkout / ".env").write_text(f"WANDB_PROJECT='{VALUE}'  # ours\n")
    fake_engines(programs, docker=f'{ENGINE}; [ "$1" != tag ] || echo "$@" >tagged')
    assert run([*SCRIPT, "--devcontainer"], cwd=checkout, path=programs).returncode == 0
    file = checkout / ".samebench/devcontainer.env"
    assert file.read_text() == f"WANDB_PROJECT={VALUE}\n"
    assert file.stat().st_mode & 0o077 == 0
    assert re.fullmatch(r"tag samebench:cpu-\w{12} samebench:cpu\n", (checkout / "tagged").read_text())


def test_it_is_neither_in_git_nor_in_a_receipts_patch_nor_in_a_build(tmp_path: Path) -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in sent
    assert not any(".env" in line for line in sent if line.startswith("!"))
    (tmp_path / "src").mkdir()
    for place in (tmp_path / ".env", tmp_path / "src/.env"):
        place.write_text("HF_TOKEN=old\n")
    git: list[str | Path] = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-C", tmp_path]
    for words in (["init", "--quiet"], ["add", ".env"], ["commit", "--quiet", "--message", "First"]):
        subprocess.run([*git, *words], check=True, env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull})
    for place in (tmp_path / ".env", tmp_path / "src/.env"):
        place.write_text(f"HF_TOKEN={VALUE}\n")
    assert VALUE not in source_tree.uncommitted(tmp_path).decode()
