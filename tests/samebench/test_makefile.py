"""The Makefile's own words."""

import re
import shutil
from pathlib import Path

import pytest

from .checkout import ROOT, run
from .fakes import ENGINE, SERVER, checkout, fake_engines, programs

__all__ = ["checkout", "programs"]  # fixtures

SWITCHES = {"YES": "prune", "FAST": "train", "QUICK": "reproduce", "JSON": "runs"}


@pytest.mark.parametrize(("switch", "target"), SWITCHES.items())
def test_a_switch_is_on_off_or_refused(switch: str, target: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    flag = f"--{switch.lower()}"

    def shown(value: str) -> str:
        done = run(["make", "--dry-run", target, f"{switch}={value}"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert flag in shown("1")
    assert flag not in shown("0") + shown("")
    for wrong in ("no", "false", "y"):
        done = run(["make", "--dry-run", target, f"{switch}={wrong}"], cwd=tmp_path)
        assert done.returncode == 2
        assert f"{switch}={wrong}: give {switch}=1, or leave it out." in done.stderr


# A value for each variable that decides an action, as a shell may export it for something else.
EXPORTED = {
    **dict.fromkeys(("CHECK", "ELSEWHERE", "FAST", "JSON", "OPEN", "QUICK", "YES"), "1"),
    **dict.fromkeys(("A", "ARGS", "B", "DATASET", "EXPECT", "FILTER", "FROM", "GRID", "INIT", "JOBS", "KEEP"), "other"),
    **dict.fromkeys(("KEY", "NAME", "NOTE", "PKG", "PLATFORM", "PORT", "RESUME", "RUN", "RUNS", "SORT"), "other"),
    **dict.fromkeys(("TEXT", "TOKEN", "JUPYTER_TOKEN", "WITH"), "other"),
}


def targets() -> list[str]:
    listed = run(["make"], cwd=ROOT).stdout
    return [line.split()[0] for line in listed.splitlines()]


@pytest.mark.parametrize("flag", [[], ["-e"]])
@pytest.mark.parametrize("inside", ["", "1"])
def test_what_the_shell_exports_changes_no_command(inside: str, flag: list[str], tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)

    def commands(**exported: str) -> str:
        done = run(["make", *flag, "--dry-run", *targets()], cwd=tmp_path, variables={"SAMEBENCH": inside, **exported})
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert commands(**EXPORTED) == commands()


def stand_in(checkout: Path, *words: str) -> None:
    """The host's side becomes this command, whatever it is asked for."""
    (checkout / "src/samebench/host/__main__.py").write_text(f"import os\nos.execvp({words[0]!r}, {list(words)})\n")


@pytest.mark.parametrize("flag", [[], ["-e"]])
def test_what_the_shell_exports_does_not_reach_the_command(flag: list[str], checkout: Path) -> None:
    stand_in(checkout, "env")
    done = run(["make", *flag, "train"], cwd=checkout, variables={**EXPORTED, "RUNTIME": "local", "PROCS": "2"})
    names = {line.split("=")[0] for line in done.stdout.splitlines()}
    assert not names & EXPORTED.keys()
    assert names >= {"RUNTIME", "PROCS"}


@pytest.mark.parametrize("word", ["DATASET=shoes", "DATA=shoes"])
def test_the_notebooks_look_at_the_data_set_that_make_is_given(word: str, checkout: Path) -> None:
    stand_in(checkout, "env")
    done = run(["make", "notebook", word], cwd=checkout)
    assert "DATA=shoes" in done.stdout.splitlines()
    assert "DATA=shoes" not in run(["make", "notebook"], cwd=checkout).stdout.splitlines()


def test_what_make_is_given_does_not_reach_a_make_in_its_shell(checkout: Path) -> None:
    stand_in(checkout, *["make", "--no-print-directory", "--dry-run", "prune", "KEEP=last", "SAMEBENCH=1"])
    done = run(["make", "shell", "YES=1", "PORT=9000"], cwd=checkout)
    assert done.stdout == 'python -m samebench.runs.prune --keep="last" --delete="" \n'


def test_one_build_and_no_second_where_the_shell_exports_check(checkout: Path, programs: Path) -> None:
    engine = 'case $1 in info) echo 28.5 ;; buildx) echo "$@" >>built ;; image) echo 1 ;; esac'
    fake_engines(programs, docker=engine)
    for exported, given in (({"CHECK": "1"}, []), ({}, ["CHECK=0"])):
        done = run(["make", "build", *given], cwd=checkout, path=programs, variables=exported)
        assert done.returncode == 0, done.stderr
        assert "--no-cache" not in (checkout / "built").read_text()


def test_no_token_of_the_shell_goes_into_a_container(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=SERVER)
    done = run(["make", "notebook"], cwd=checkout, path=programs, variables={"TOKEN": "a", "JUPYTER_TOKEN": "b"})
    assert done.returncode == 0, done.stderr
    assert "TOKEN" not in (checkout / "asked").read_text()


def test_a_chosen_token_is_refused_in_the_container_which_never_gets_it(checkout: Path, programs: Path) -> None:
    fake_engines(programs, docker=SERVER)
    for name in ("TOKEN", "JUPYTER_TOKEN"):
        run(["make", "notebook", f"{name}=mine"], cwd=checkout, path=programs)
        asked = (checkout / "asked").read_text().splitlines()
        assert asked[asked.index(f"{name}=") - 1] == "--env"
        assert f"{name}=mine" not in asked
        assert name not in asked


def test_a_file_of_the_host_is_seen_only_where_make_was_given_it(
    checkout: Path, programs: Path, tmp_path: Path
) -> None:
    fake_engines(programs, docker=ENGINE)
    for words, seen in (([], False), ([f"WITH={tmp_path}/bin"], True)):
        done = run(["make", "runs", *words], cwd=checkout, path=programs, variables={"WITH": f"{tmp_path}/bin"})
        assert (f"target={tmp_path}/bin" in done.stdout.replace('"', "")) == seen


MISSPELT = {
    "DATSET=shoes": "did you mean DATASET?",
    "GPUS=1": "did you mean GPU?",
    "dataset=shoes": "did you mean DATASET?",
    "RUNTIEM=local": "did you mean RUNTIME?",
    "PROC=2": "did you mean PROCS?",
    "EPOCHS=2": 'for a setting give ARGS="--epochs 2"',
    "Learning.Rate=2": 'for a setting give ARGS="--learning.rate 2"',
}


@pytest.mark.parametrize("inside", ["", "1"])
@pytest.mark.parametrize(("word", "remedy"), MISSPELT.items())
def test_a_variable_that_make_does_not_have_is_refused_with_the_one_that_was_meant(
    word: str, remedy: str, inside: str, tmp_path: Path
) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for target in ("train", "help"):
        done = run(["make", target, word], cwd=tmp_path, variables={"SAMEBENCH": inside})
        (line,) = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (2, "")
        assert f"no variable {word.partition('=')[0]}; " in line
        assert remedy in line


def test_every_variable_that_the_head_of_the_makefile_names_can_be_given(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    head = (ROOT / "Makefile").read_text().split("\n\n")[0]
    named = sorted(set(re.findall(r"\b([A-Z][A-Z_]+)=", head)))
    assert len(named) > 20
    done = run(["make", "help", *(f"{name}=1" for name in named if name != "ARGS")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_describes_the_machine_can_be_given(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    names = (
        *("BASE_IMAGE", "CA_CERT", "SSL_CERT_FILE", "WHEELHOUSE", "PIP_INDEX_URL", "UV_DEFAULT_INDEX", "TORCH_INDEX"),
        *(
            "https_proxy",
            "NO_PROXY",
            "CUDA_VISIBLE_DEVICES",
            "DOCKER_HOST",
            "API_KEY",
            "KEEP_ALIVE",
            "SERVE",
            "HOST",
            "WORKERS",
        ),
        *("PROCS", "PET_NNODES", "NODE_RANK", "MASTER_ADDR", "JOB", "RESTARTS", "JOIN_TIMEOUT", "NCCL_SOCKET_IFNAME"),
        *("HOME", "TMPDIR", "SHELL", "SSH_AUTH_SOCK"),
    )
    done = run(["make", "help", *(f"{name}=/bin/sh" for name in names)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


ENGINE_TESTS = "host --test-engine"


@pytest.mark.parametrize(
    ("args", "lint", "engine"),
    [
        ("", True, "tests/image"),
        ("-x", True, "tests/image -x"),
        ("--ignore tests/deploy", True, "tests/image --ignore tests/deploy"),
        ("tests/samebench/test_table.py -x", False, ""),
        ("tests/image/test_ship.py -x", False, "tests/image/test_ship.py -x"),
        ("tests/image/test_ship.py::test_a tests/deploy", False, "tests/image/test_ship.py::test_a"),
    ],
)
def test_tests_that_are_named_run_and_nothing_beside_them(args: str, lint: bool, engine: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = run(["make", "--dry-run", "test", f"ARGS={args}", "RUNTIME=docker"], cwd=tmp_path)
    first, second = done.stdout.splitlines()[-2:]
    assert ("samebench.workspace.lint" in first) == lint
    assert first.endswith(f" {args}")
    assert second.partition(ENGINE_TESTS)[2].split() == engine.split()
