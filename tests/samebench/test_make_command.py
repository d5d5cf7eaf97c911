"""The words of a printed make command reach the program as they were, through two shells and make."""

import shlex
import subprocess
from pathlib import Path

import pytest

from samebench.core import make_command

STRANGE = [
    "runs/20261126-120000-abcd",
    "a b",
    "it's",
    'a"b',
    "a\\b",
    "$(touch ran)",
    "$(shell touch ran)",
    "`touch ran`",
    "${HOME}",
    "$$",
    "a;touch ran",
    "a#b",
    "a!b",
    "*",
    "é",
    "'$(touch ran)'",
]
MAKEFILE = """\
show:
\t@printf '%s\\n' "$(RUN)"
\t@printf '%s\\n' $(ARGS)
"""


def printed(command: str, at: Path) -> list[str]:
    """What the recipe is given by a command that is copied into a shell."""
    (at / "Makefile").write_text(MAKEFILE)
    done = subprocess.run(["sh", "-c", f"make --silent show {command}"], cwd=at, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (at / "ran").exists()
    return done.stdout.splitlines()


@pytest.mark.parametrize("value", STRANGE)
def test_a_value_with_signs_of_shells_and_of_make_arrives_and_runs_nothing(value: str, tmp_path: Path) -> None:
    arguments = make_command.arguments([f"--init={value}", "--fast", f"--shift=-{value}"])
    command = f"{make_command.variable('RUN', value)} {arguments}"
    assert printed(command, tmp_path) == [value, "--init", value, "--fast", f"--shift=-{value}"]
    assert len(shlex.split(command)) == 2


def test_what_needs_no_quotes_has_none() -> None:
    assert make_command.variable("RUN", "runs/one") == "RUN=runs/one"
    assert make_command.arguments(["--epochs=2", "--fast"]) == 'ARGS="--epochs 2 --fast"'
    assert make_command.arguments([]) == ""


def test_a_printed_command_names_the_project_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROJECT", raising=False)
    assert make_command.make("train", "", "DATA=synthetic") == "make train DATA=synthetic"
    monkeypatch.setenv("PROJECT", "prices")
    assert make_command.make("train", "RESUME=runs/1") == "make train PROJECT=prices RESUME=runs/1"
