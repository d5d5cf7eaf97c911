"""What git does in a clone where `make hooks` was run: real commits, each stopped or not."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from samebench import checks

from .checkout import copy_checkout, run

HOOK = ".git/hooks/pre-commit"
NOTEBOOK = "notebooks/01-look-at-the-data.ipynb"
IDENTITY = {
    f"GIT_{who}_{what}": "somebody@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
INSIDE = {**IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "SAMEBENCH": "1"}  # the tests run inside the runtime


def git(*words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(["git", *words], cwd=cwd, variables=INSIDE | variables)


def make_hooks(clone: Path) -> list[str]:
    done = run(["make", "hooks"], cwd=clone, variables=INSIDE)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("samebench: hooks: ") for line in done.stderr.splitlines()]


def make_clone(at: Path) -> Path:
    copy_checkout(at)
    for package in ("benchmarks", "tests"):
        (at / package).mkdir()
        (at / package / "__init__.py").touch()
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "First"]):
        assert git(*words, cwd=at).returncode == 0
    return at


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in a folder with spaces, with hooks; each test must leave it as it was."""
    path = make_clone(tmp_path_factory.mktemp("git") / "my work")
    make_hooks(path)
    return path


@pytest.fixture
def clone(made: Path) -> Iterator[Path]:
    """The same, put back afterwards."""
    first = git("rev-parse", "HEAD", cwd=made).stdout.strip()
    yield made
    git("reset", "--quiet", "--hard", first, cwd=made)
    git("clean", "--quiet", "--force", "-d", cwd=made)


@pytest.fixture
def bare_clone(tmp_path: Path) -> Path:
    """A clone where `make hooks` was never run."""
    return make_clone(tmp_path / "clone")


def run_cells(notebook: Path) -> None:
    """Leave in the notebook what running it leaves."""
    content = json.loads(notebook.read_text())
    cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    cell |= {"execution_count": 7, "outputs": [{"name": "stdout", "output_type": "stream", "text": ["hello\n"]}]}
    content["metadata"]["language_info"] = {"name": "python", "version": "3.11.99"}
    notebook.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def commit(clone: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    git("add", "--all", cwd=clone, **variables)
    return git("commit", "--message", "Second", *words, cwd=clone, **variables)


def assert_stopped(clone: Path, said: str, **variables: str) -> None:
    before = git("rev-parse", "HEAD", cwd=clone).stdout
    done = commit(clone, **variables)
    assert done.returncode == 1
    assert said in done.stderr
    assert "not committed" in done.stderr.splitlines()[-1]
    assert git("rev-parse", "HEAD", cwd=clone).stdout == before


def test_clean_change_is_committed_and_the_hook_says_nothing(clone: Path) -> None:
    with (clone / "src/samebench/files.py").open("a") as module:
        module.write("\n\nANSWER: int = 42\n")
    done = commit(clone)
    assert (done.returncode, done.stderr) == (0, "")


def test_notebook_is_stripped_on_its_way_in_and_keeps_its_outputs_here(clone: Path) -> None:
    run_cells(clone / NOTEBOOK)
    with (clone / "notes.md").open("w") as notes:
        notes.write("one\n")
    assert commit(clone).returncode == 0
    assert "hello" in (clone / NOTEBOOK).read_text()
    assert git("show", "--name-only", "--format=", "HEAD", cwd=clone).stdout.split() == ["notes.md"]
    assert git("status", "--short", cwd=clone).stdout == ""


def test_changed_notebook_keeps_its_cells_ids_and_loses_its_outputs(clone: Path) -> None:
    notebook = clone / NOTEBOOK
    before = [cell["id"] for cell in json.loads(notebook.read_text())["cells"]]
    run_cells(notebook)
    notebook.write_text(notebook.read_text().replace("# Look at the data", "# Look again"))
    assert commit(clone).returncode == 0
    inside = json.loads(git("show", f"HEAD:{NOTEBOOK}", cwd=clone).stdout)
    assert [cell["id"] for cell in inside["cells"]] == before
    assert inside["cells"][0]["source"][0] == "# Look again\n"
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in inside["cells"])


def test_notebook_with_outputs_that_went_round_the_filter_is_stopped_and_the_remedy_works(clone: Path) -> None:
    run_cells(clone / NOTEBOOK)
    round_the_filter = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "filter.nbstripout.clean",
        "GIT_CONFIG_VALUE_0": "cat",
    }
    assert_stopped(clone, f"{NOTEBOOK}: carries outputs or counts; strip them: make hooks", **round_the_filter)
    git("add", "--renormalize", NOTEBOOK, cwd=clone)
    assert "hello" not in git("show", f":{NOTEBOOK}", cwd=clone).stdout


def test_large_file_is_stopped(clone: Path) -> None:
    (clone / "weights.bin").write_bytes(bytes(5_000_000))
    assert_stopped(clone, "weights.bin: 5.0 MB, at most 1 MB go into git; keep it outside, with its hash in data/")


def test_private_key_is_stopped(clone: Path) -> None:
    (clone / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
    assert_stopped(clone, "key.pem:1: looks like a secret (Private Key); take it out, and revoke it")


def test_merge_conflict_is_stopped(clone: Path) -> None:
    (clone / "notes.md").write_text("<" * 7 + " HEAD\none\n" + "=" * 7 + "\ntwo\n" + ">" * 7 + " theirs\n")
    assert_stopped(clone, "notes.md:1: a merge conflict (<<<<<<< HEAD); choose one side and delete the markers")


def test_badly_formatted_file_is_stopped(clone: Path) -> None:
    (clone / "src/samebench/new.py").write_text('"""New."""\n\nanswer = {"a":1}\n')
    assert_stopped(clone, "make format mends it")


def test_wrong_type_is_stopped(clone: Path) -> None:
    (clone / "src/samebench/new.py").write_text('"""New."""\n\nANSWER: int = "forty-two"\n')
    assert_stopped(clone, "src/samebench/new.py:3: error: Incompatible types in assignment")


def test_bad_dockerfile_is_stopped(clone: Path) -> None:
    dockerfile = clone / "docker/cpu.Dockerfile"
    dockerfile.write_text(f"{dockerfile.read_text()}RUN cd /tmp && sudo ls\n")
    assert_stopped(clone, f"docker/cpu.Dockerfile:{len(dockerfile.read_text().splitlines())} DL3004")


def test_what_is_checked_is_what_is_staged_and_unstaged_work_stays(clone: Path) -> None:
    module = clone / "src/samebench/starter.py"  # nothing that checks imports it
    clean = module.read_text()
    with module.open("w") as file:
        file.write(clean + "\n\nANSWER: int = 42\n")
    git("add", "--all", cwd=clone)
    module.write_text(clean + "\n\nunfinished = (\n")
    run_cells(clone / NOTEBOOK)
    assert git("commit", "--message", "Second", cwd=clone).returncode == 0
    assert module.read_text().endswith("unfinished = (\n")
    assert "hello" in (clone / NOTEBOOK).read_text()


def test_commit_of_one_file_checks_that_file_alone(clone: Path) -> None:
    (clone / "src/samebench/new.py").write_text("bad =1\n")
    git("add", "--all", cwd=clone)
    (clone / "Makefile").write_text((clone / "Makefile").read_text() + "\n# a word\n")
    assert git("commit", "--message", "Second", "Makefile", cwd=clone).returncode == 0


def test_hooks_are_set_up_once_however_often_they_are_asked_for(bare_clone: Path) -> None:
    first = make_hooks(bare_clone)
    config, hook = (bare_clone / ".git/config").read_text(), (bare_clone / HOOK).read_text()
    second = make_hooks(bare_clone)
    assert [line.split(":")[0] for line in first] == ["set the notebook filter", f"wrote {HOOK}"]
    assert second == ["the notebook filter is already there", f"{HOOK} is already there"]
    assert ((bare_clone / ".git/config").read_text(), (bare_clone / HOOK).read_text()) == (config, hook)
    assert str(bare_clone) not in config + hook, "nothing absolute: host and container read the same"


def test_hook_of_ones_own_is_kept(bare_clone: Path) -> None:
    (bare_clone / HOOK).write_text("#!/bin/sh\necho mine\n")
    assert make_hooks(bare_clone)[1] == (
        f"{HOOK} is your own and was kept; add this line to it: sh src/samebench/hook.sh commit"
    )
    assert (bare_clone / HOOK).read_text() == "#!/bin/sh\necho mine\n"


def test_hooks_folder_of_ones_own_is_left_alone(bare_clone: Path) -> None:
    git("config", "core.hooksPath", "elsewhere", cwd=bare_clone)
    assert make_hooks(bare_clone)[1].startswith("core.hooksPath is set to elsewhere, so no hook was written")
    assert not (bare_clone / HOOK).exists()
    assert not (bare_clone / "elsewhere").exists()


def test_clone_without_hooks_works_with_the_filter_unset(bare_clone: Path) -> None:
    run_cells(bare_clone / NOTEBOOK)
    assert commit(bare_clone).returncode == 0
    assert "hello" in git("show", f"HEAD:{NOTEBOOK}", cwd=bare_clone).stdout


def test_branch_from_before_the_hooks_can_be_committed_to(clone: Path) -> None:
    git("rm", "--quiet", "-r", "src", cwd=clone)
    shutil.rmtree(clone / "src", ignore_errors=True)
    run_cells(clone / NOTEBOOK)
    assert commit(clone).returncode == 0


def test_tree_without_git_has_nothing_to_set_up(tmp_path: Path) -> None:
    copy_checkout(tmp_path / "tree")
    done = run(["make", "hooks"], cwd=tmp_path / "tree", variables=INSIDE | {"GIT_CEILING_DIRECTORIES": str(tmp_path)})
    assert (done.returncode, done.stderr) == (
        0,
        "samebench: hooks: no git clone here, so there is nothing to set up\n",
    )


def test_commit_that_cannot_be_checked_is_refused_with_the_remedy(clone: Path) -> None:
    (clone / "notes.md").write_text("one\n")
    done = commit(clone, SAMEBENCH="", RUNTIME="vagrant")
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert said[-2:] == [
        "samebench: RUNTIME=vagrant: give auto, docker, podman or local",
        (
            "samebench: not committed, because it could not be checked (see above): mend that, "
            "or commit unchecked with --no-verify"
        ),
    ]


def test_filter_that_gets_nothing_fails_so_that_git_keeps_the_file(clone: Path) -> None:
    done = run(["sh", "src/samebench/hook.sh", "strip"], cwd=clone, variables=INSIDE)
    assert (done.returncode, done.stdout) == (2, "")


def test_what_is_no_notebook_passes_the_filter_unchanged() -> None:
    for content in (b"", b"not json\n", b"[1, 2]\n", b'{"cells": 3}\n', b"\xff\xfe"):
        assert checks.strip(content) == content


@pytest.mark.parametrize("line", ["=======\n", "a <<<<<<< b\n", "<<<<<<<\n"])
def test_what_only_resembles_a_conflict_passes(tmp_path: Path, line: str) -> None:
    (tmp_path / "notes.md").write_text(line)
    assert not list(checks.wrongs([tmp_path / "notes.md"]))


@pytest.mark.parametrize(
    "secret",
    [
        "AKIA" + "IOSFODNN7EXAMPLQ",
        "ghp_" + "x7" * 18,
        "hf_" + "aBcDeFgHiJkLm" + "NoPqRsTuVwXyZ" + "1234567890",
    ],
)
def test_token_of_a_cloud_or_a_model_hub_is_found(tmp_path: Path, secret: str) -> None:
    (tmp_path / "settings.py").write_text(f'TOKEN = "{secret}"\n')
    (line,) = checks.wrongs([tmp_path / "settings.py"])
    assert line.startswith(f"{tmp_path}/settings.py:1: looks like a secret (")
    assert secret not in line
