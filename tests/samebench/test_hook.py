"""What git does in a clone where `make hooks` was run: real commits, each stopped or not."""

import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nbformat import from_dict
from nbstripout import strip_output  # type: ignore[import-untyped]

from samebench.workspace import notebook_outputs

from .checkout import ROOT, copy_checkout, run
from .fakes import SCRIPT, write_program

HOOK = ".git/hooks/pre-commit"
NOTEBOOK = "notebooks/01-look-at-the-data.ipynb"
IDENTITY = {
    f"GIT_{who}_{what}": "somebody@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}
INSIDE = {**IDENTITY, "GIT_CONFIG_GLOBAL": "/dev/null", "SAMEBENCH": "1"}  # the tests run inside the runtime


def git(*words: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(["git", *words], cwd=cwd, variables=INSIDE | variables)


def make_hooks(clone: Path) -> list[str]:
    done = run(["make", "hooks"], cwd=clone, variables=INSIDE)
    assert done.returncode == 0, done.stderr
    return [line.removeprefix("samebench: hooks: ") for line in done.stderr.splitlines()]


def make_clone(at: Path) -> Path:
    copy_checkout(at)
    for package in ("benchmarks", "tests"):
        (at / package).mkdir()
        (at / package / "__init__.py").write_text(f'"""{package.capitalize()}."""\n')
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "First"]):
        assert git(*words, cwd=at).returncode == 0
    return at


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in a folder with spaces, with hooks; each test must leave it as it was."""
    path = make_clone(tmp_path_factory.mktemp("git") / "my work")
    make_hooks(path)
    if (ROOT / ".mypy_cache").is_dir():  # what it knows of torch and numpy, for which it takes half a minute
        shutil.copytree(ROOT / ".mypy_cache", path / ".git/samebench-hooks/.mypy_cache")
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
    with (clone / "src/samebench/core/files.py").open("a") as module:
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
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "filter.nbstripout.process",
        "GIT_CONFIG_VALUE_0": "",
        "GIT_CONFIG_KEY_1": "filter.nbstripout.required",
        "GIT_CONFIG_VALUE_1": "false",
    }
    assert_stopped(clone, f"would have stripped {NOTEBOOK}", **round_the_filter)
    git("add", "--renormalize", NOTEBOOK, cwd=clone)
    assert "hello" not in git("show", f":{NOTEBOOK}", cwd=clone).stdout


def test_large_file_is_stopped(clone: Path) -> None:
    (clone / "weights.bin").write_bytes(bytes(5_000_000))
    assert_stopped(clone, "./weights.bin")


def test_private_key_is_stopped(clone: Path) -> None:
    (clone / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
    assert_stopped(clone, "Location:    key.pem:1")


def test_merge_conflict_is_stopped(clone: Path) -> None:
    (clone / "notes.md").write_text("<" * 7 + " HEAD\none\n" + "=" * 7 + "\ntwo\n" + ">" * 7 + " theirs\n")
    assert_stopped(clone, "notes.md:1:<<<<<<< HEAD")


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
    module = clone / "src/samebench/workspace/kernel_restarter.py"  # nothing that checks imports it
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
    assert [line.split(":")[0] for line in first] == [
        "copied the checks of this checkout to .git/samebench-hooks",
        "set the notebook filter",
        f"wrote {HOOK}",
    ]
    assert second == [
        "the checks in .git/samebench-hooks are those of this checkout",
        "the notebook filter is already there",
        f"{HOOK} is already there",
    ]
    assert ((bare_clone / ".git/config").read_text(), (bare_clone / HOOK).read_text()) == (config, hook)
    assert str(bare_clone) not in config + hook, "nothing absolute: host and container read the same"


def test_hook_of_ones_own_is_kept(bare_clone: Path) -> None:
    (bare_clone / HOOK).write_text("#!/bin/sh\necho mine\n")
    said = make_hooks(bare_clone)[2]
    line = said.removeprefix(f"{HOOK} is your own and was kept; add this line to it: ")
    assert (bare_clone / HOOK).read_text() == "#!/bin/sh\necho mine\n"
    (bare_clone / HOOK).write_text(f"#!/bin/sh\n{line}\n")
    (bare_clone / HOOK).chmod(0o755)
    assert make_hooks(bare_clone)[2] == f"{HOOK} is your own and calls the checks"
    (bare_clone / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
    assert_stopped(bare_clone, "Secret Type: Private Key")


def test_hooks_folder_of_ones_own_is_left_alone(bare_clone: Path) -> None:
    git("config", "core.hooksPath", "elsewhere", cwd=bare_clone)
    assert make_hooks(bare_clone)[2].startswith("core.hooksPath is set to elsewhere, so no hook was written")
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


def test_commit_that_cannot_be_checked_is_refused_with_the_remedy(clone: Path, tmp_path: Path) -> None:
    (clone / "notes.md").write_text("one\n")
    for engine in ("docker", "podman"):
        write_program(tmp_path / engine, "exit 1")
    git("add", "--all", cwd=clone)
    done = run(["git", "commit", "--message", "Second"], cwd=clone, path=tmp_path, variables=IDENTITY)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "samebench: no environment yet; make shell sets it up",
        "samebench: not committed, because it could not be checked (see above): mend that, then commit again",
    ]


def test_what_is_no_notebook_passes_the_filter_unchanged() -> None:
    for content in (b"", b"not json\n", b"[1, 2]\n", b'{"cells": 3}\n', b"\xff\xfe", b"[" * 10**6):
        assert notebook_outputs.clean(content) == content


def by_nbstripout(content: bytes) -> bytes:
    keys = [f"metadata.{name}" for name in notebook_outputs.METADATA]
    keys += [f"cell.metadata.{name}" for name in notebook_outputs.CELL_METADATA]
    notebook = from_dict(json.loads(content))  # type: ignore[no-untyped-call]
    stripped = strip_output(notebook, keep_output=False, keep_count=False, keep_id=True, extra_keys=keys)
    return (json.dumps(stripped, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def random_notebook(chance: random.Random) -> bytes:
    """A notebook with whatever cells, outputs and metadata there can be, from format 3 to 4.5."""

    def some(values: Sequence[Any]) -> Any:
        return chance.choice(values)

    def metadata() -> dict[str, Any]:
        every = {
            **{name: some([True, {}, "x", None]) for name in notebook_outputs.CELL_METADATA},
            "init_cell": some([True, False]),
            "keep_output": True,
            "tags": some([[], ["keep_output"], ["a", "b"]]),
            "jupyter": {"source_hidden": True},
            "größe": 1.5,
        }
        return {name: value for name, value in every.items() if chance.random() < 0.3}

    def output() -> dict[str, Any]:
        every: list[dict[str, Any]] = [
            {},
            {"output_type": "", "text": []},
            {"output_type": "stream", "name": "stdout", "text": ["hello\n", "服\n"]},
            {"output_type": "execute_result", "execution_count": 7, "data": {"text/plain": "1"}, "metadata": {}},
        ]
        return chance.choice(every)

    def cell() -> dict[str, Any]:
        whole = {
            "cell_type": some(["code", "markdown", "raw"]),
            "id": f"{chance.random()}",
            "metadata": metadata(),
            "source": some(["", "x = 1", ["a\n", "b"]]),
            "outputs": [output() for _ in range(chance.randrange(3))],
            "execution_count": some([None, 3]),
            "prompt_number": 4,
        }
        return {name: value for name, value in whole.items() if chance.random() < 0.8}

    kinds = {"language_info": {"version": "3.11"}, "signature": "x", "widgets": {}, "kernelspec": {"name": "python3"}}
    top: dict[str, Any] = {"metadata": {name: value for name, value in kinds.items() if chance.random() < 0.5}}
    cells = [cell() for _ in range(chance.randrange(5))]
    top |= some([{"nbformat": 3, "worksheets": [{"cells": cells}]}, {"nbformat": 4, "cells": cells}, {"cells": cells}])
    return json.dumps(top, ensure_ascii=some([True, False]), indent=some([None, 1, 4])).encode()


def test_the_filter_gives_the_bytes_that_nbstripout_gives() -> None:
    notebooks = [path.read_bytes() for path in (ROOT / "notebooks").glob("*.ipynb")]
    chance = random.Random(1)
    notebooks += [random_notebook(chance) for _ in range(2000)]
    for content in notebooks:
        assert notebook_outputs.clean(content) == by_nbstripout(content)


def test_half_of_a_surrogate_pair_stays_in_its_notebook() -> None:
    content = rb'{"cells": [{"cell_type": "markdown", "metadata": {}, "source": "\ud83d"}], "metadata": {}}'
    cleaned = notebook_outputs.clean(content)
    assert rb"\ud83d" in cleaned
    assert json.loads(cleaned) == json.loads(content)


# ---- a branch of a stranger ----


def canaried(clone: Path, canary: Path) -> None:
    """Make every script, module and setting of the working tree one that leaves a trace if it runs."""
    python = f"open({str(canary)!r}, 'a').write(__file__)\n"
    shell = f"#!/bin/sh\necho ran >>'{canary}'\n"
    for path in (clone / "src").rglob("*"):
        if path.suffix in {".py", ".sh"}:
            path.write_text(python if path.suffix == ".py" else shell)
    for name in ("sitecustomize", "usercustomize", "json", "pre_commit", "gibberish_detector"):
        (clone / f"{name}.py").write_text(python)
        (clone / f"src/{name}.py").write_text(python)
    for name in (".venv/bin/python", ".venv/bin/python3", ".venv/bin/ruff", "python3", "sh", "cat", "git"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_text(shell)
        (clone / name).chmod(0o755)
    (clone / "mypy.ini").write_text("[mypy]\nplugins = evil.py\n")
    (clone / "evil.py").write_text(python)
    (clone / "docker/cpu.Dockerfile").write_text(f"FROM scratch\nENV LD_PRELOAD={clone}/evil.so\n")
    (clone / ".pre-commit-config.yaml").write_text(
        f"repos: [{{repo: local, hooks: [{{id: x, name: x, entry: touch '{canary}', language: system}}]}}]\n"
    )
    # Not of all files, of which each would take as long as a notebook.
    (clone / ".gitattributes").write_text(
        "* diff=evil merge=evil\n*.toml filter=nbstripout\n*.ipynb filter=nbstripout\n"
    )


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A clone with hooks, on the branch of a stranger; what runs of it leaves `canary` beside it."""
    clone = make_clone(tmp_path / "clone")
    make_hooks(clone)
    git("checkout", "--quiet", "-b", "stranger", cwd=clone)
    canaried(clone, tmp_path / "canary")
    git("-c", "core.hooksPath=/dev/null", "add", "--all", "--force", cwd=clone)
    git("commit", "--quiet", "--no-verify", "--message", "Theirs", cwd=clone)
    git("checkout", "--quiet", "-", cwd=clone)
    assert git("checkout", "--quiet", "stranger", cwd=clone).returncode == 0
    return clone


@pytest.mark.parametrize("inside", ["", "1"])
def test_git_runs_nothing_of_a_branch(hostile: Path, inside: str) -> None:
    with (hostile / NOTEBOOK).open("a") as notebook:
        notebook.write("\n")
    (hostile / "notes.md").write_text("mine\n")
    for words in (
        ["status"],
        ["diff"],
        ["add", "--all"],
        ["stash"],
        ["stash", "pop"],
        ["commit", "--message", "Mine"],
        ["commit", "--quiet", "--no-verify", "--message", "Mine"],
        ["checkout", "--quiet", "-"],
        ["merge", "--quiet", "stranger"],
        ["rebase", "--quiet", "HEAD~1"],
        ["log", "--patch", "--max-count", "1"],
    ):
        git(*words, cwd=hostile, SAMEBENCH=inside)
        assert not (hostile.parent / "canary").exists(), words


def test_a_branch_with_other_checks_is_not_committed_to_unchecked(hostile: Path) -> None:
    git("rm", "--quiet", "-r", "--cached", ".venv", cwd=hostile)
    (hostile / "notes.md").write_text("mine\n")
    for left in ("src/json.py", None):
        assert_stopped(hostile, "if you trust this branch, run make hooks")
        if left:
            for name in ("sitecustomize", "usercustomize", "json", "pre_commit", "gibberish_detector"):
                (hostile / f"src/{name}.py").unlink()


def test_a_commit_is_checked_by_what_make_hooks_has_installed(clone: Path) -> None:
    (clone / "src/samebench/workspace/lint.py").write_text('"""Nothing."""\n')
    (clone / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
    assert_stopped(clone, "Secret Type: Private Key")


def test_make_hooks_replaces_what_an_earlier_edition_installed(bare_clone: Path) -> None:
    filter_ = "if [ -e src/samebench/hook.sh ]; then sh src/samebench/hook.sh strip; else cat; fi"
    git("config", "filter.nbstripout.clean", filter_, cwd=bare_clone)
    (bare_clone / HOOK).write_text(
        "#!/bin/sh\n# Written by make hooks; delete this file, and commits are no longer checked.\n"
        "[ ! -e src/samebench/hook.sh ] || exec sh src/samebench/hook.sh commit\n"
    )
    (bare_clone / HOOK).chmod(0o755)
    assert make_hooks(bare_clone)[1:] == [
        "replaced the notebook filter of an earlier edition",
        f"replaced {HOOK} of an earlier edition",
    ]
    assert make_hooks(bare_clone)[1:] == ["the notebook filter is already there", f"{HOOK} is already there"]


def test_a_commit_that_git_does_not_answer_for_deletes_nothing(tmp_path: Path) -> None:
    copy_checkout(tmp_path / "tree")
    before = sorted(tmp_path.rglob("*"))
    for words in (["sh", "src/samebench/workspace/hook.sh", "commit"], [*SCRIPT, "--commit"]):
        done = run(words, cwd=tmp_path / "tree", variables=INSIDE | {"GIT_CEILING_DIRECTORIES": str(tmp_path)})
        assert done.returncode == 1
        assert "samebench: git rev-parse --git-path: fatal: not a git repository" in done.stderr
    assert [path for path in before if not path.exists()] == []


def test_make_hooks_fails_where_git_can_not_be_set(bare_clone: Path) -> None:
    (bare_clone / ".git/config.lock").touch()
    done = run(["make", "hooks"], cwd=bare_clone, variables=INSIDE)
    assert done.returncode == 2
    assert re.search("^samebench: git config --local: .*lock", done.stderr, re.MULTILINE)


def test_without_python_no_notebook_is_staged_and_one_line_says_why(clone: Path, tmp_path: Path) -> None:
    for program in ("sh", "git", "dirname"):
        (tmp_path / program).symlink_to(str(shutil.which(program)))
    script = clone / ".git/samebench-hooks/src/samebench/workspace/hook.sh"
    text = script.read_text()
    script.write_text(text.replace("/usr/bin $PATH", "$PATH"))
    before = git("ls-files", "--stage", NOTEBOOK, cwd=clone).stdout
    run_cells(clone / NOTEBOOK)
    done = run(["git", "add", NOTEBOOK], cwd=clone, variables=INSIDE | {"PATH": str(tmp_path)})
    script.write_text(text)
    assert done.returncode == 128
    said = [line for line in done.stderr.splitlines() if line.startswith("samebench: ")]
    assert said == [
        "samebench: no notebook was added or compared: no python3 is here to strip outputs; install Python 3.9 or newer"
    ]
    assert git("ls-files", "--stage", NOTEBOOK, cwd=clone).stdout == before


def test_one_process_cleans_all_notebooks_of_a_command_whatever_their_size(clone: Path, tmp_path: Path) -> None:
    script = clone / ".git/samebench-hooks/src/samebench/workspace/notebook_outputs.py"
    text = script.read_text()
    count = tmp_path / "starts"
    script.write_text(text.replace("import sys\n", f"import sys\nopen({str(count)!r}, 'a').write('x')\n", 1))
    sizes = (0, 1, 60_000, 65_400, 65_516, 65_517, 200_000)
    for number, size in enumerate([*sizes, *[100] * 33]):
        cells = [{"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [{}], "source": "x" * size}]
        (clone / f"{number}.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    (clone / "empty.ipynb").touch()
    contents = {path.name: path.read_bytes() for path in clone.glob("*.ipynb")}
    assert git("add", "--all", cwd=clone).returncode == 0
    script.write_text(text)
    assert count.read_text() == "x"
    for name, content in contents.items():
        assert git("show", f":{name}", cwd=clone).stdout.encode() == notebook_outputs.clean(content)
        assert (clone / name).read_bytes() == content
    git("commit", "--quiet", "--no-verify", "--message", "Notebooks", cwd=clone)
    for name in contents:
        (clone / name).unlink()
    assert git("checkout", "--", ".", cwd=clone).returncode == 0
    assert (clone / "6.ipynb").read_bytes() == notebook_outputs.clean(contents["6.ipynb"])
    assert git("status", "--short", cwd=clone).stdout == ""


def test_a_filter_that_fails_stages_nothing(clone: Path) -> None:
    run_cells(clone / NOTEBOOK)
    copy = clone / ".git/samebench-hooks/src/samebench/workspace"
    for name, said in (("notebook_outputs.py", "notebook_outputs.py"), ("hook.sh", "make hooks writes it again")):
        (copy / name).rename(copy / "away")
        done = git("add", NOTEBOOK, cwd=clone)
        (copy / "away").rename(copy / name)
        assert done.returncode == 128
        assert said in done.stderr
        assert "hello" not in git("show", f":{NOTEBOOK}", cwd=clone).stdout
    assert git("add", NOTEBOOK, cwd=clone).returncode == 0


def test_nothing_advises_to_commit_unchecked() -> None:
    for folder in ("src", "docs", "docker", ".devcontainer"):
        for path in (ROOT / folder).rglob("*"):
            assert not path.is_file() or b"--no-" + b"verify" not in path.read_bytes(), path


def test_git_status_in_a_clone_without_an_environment_sets_nothing_up(bare_clone: Path, tmp_path: Path) -> None:
    make_hooks(bare_clone)
    for engine in ("docker", "podman"):
        write_program(tmp_path / engine, f"echo $1 >>{tmp_path}/asked")
    run_cells(bare_clone / NOTEBOOK)
    for words, said in (
        (["status", "--short"], f" M {NOTEBOOK}\n"),
        (["add", "--all"], ""),
        (["status", "--short"], ""),
    ):
        done = run(["git", *words], cwd=bare_clone, path=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, said, "")
    assert not (tmp_path / "asked").exists()


def test_a_worktree_and_a_submodule_have_filter_and_hook(bare_clone: Path, tmp_path: Path) -> None:
    make_hooks(bare_clone)
    git("worktree", "add", "--quiet", tmp_path / "tree", cwd=bare_clone)
    git("init", "--quiet", tmp_path / "outer", cwd=tmp_path)
    add = ["-c", "protocol.file.allow=always", "submodule", "add", "--quiet"]
    assert git(*add, bare_clone, "inner", cwd=tmp_path / "outer").returncode == 0
    make_hooks(tmp_path / "outer/inner")
    for place in (tmp_path / "tree", tmp_path / "outer/inner"):
        run_cells(place / NOTEBOOK)
        assert git("diff", cwd=place).stdout == ""
        (place / "key.pem").write_text("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIEpAIBAAKCAQEA7v3J\n")
        assert_stopped(place, "Secret Type: Private Key")
