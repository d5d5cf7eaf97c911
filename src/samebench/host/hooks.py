"""What git does in this clone: it checks every commit, and takes notebooks in without their outputs.

Git runs nothing of a checkout, as a branch of a stranger may hold any file. So it calls a copy in .git/samebench-hooks,
which has the folders of a checkout. hook.sh of the copy finds a Python that can't be the branch's.
"""

from __future__ import annotations

import filecmp
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from samebench.host.call import Call
from samebench.host.engine import VERSIONS, Engine, User
from samebench.host.errors import CommandError
from samebench.host.files import bind
from samebench.host.process import capture, output_of, print_message, run, succeeds

HOME = Path(__file__).resolve().parents[3]  # the copy, or the checkout
HOOK_SH = Path("src/samebench/workspace/hook.sh")
SETTINGS = (".pre-commit-config.yaml", "pyproject.toml")
NAMES = "names"  # of what lies in src/
NO, UNCHECKED = 1, 2

# Both are relative, so they mean the same on the host and in the container.
COPY = '"$(git rev-parse --git-common-dir)/samebench-hooks/src/samebench/workspace/hook.sh"'
MISSING = 'echo "samebench: $1 is missing; make hooks writes it again" >&2; exit 1;'
FILTER = f'set -- {COPY}; [ -f "$1" ] || {{ {MISSING} }}; exec sh "$1" filter'
CALL = f"sh {COPY} commit"
WRITTEN = "#!/bin/sh\n# Written by make hooks; delete this file, and commits are no longer checked.\n"
HOOK = f"{WRITTEN}exec {CALL}\n"
# As earlier editions wrote it: the first ran the script of whatever branch was checked out.
EARLIER = (
    f"{WRITTEN}[ ! -e src/samebench/hook.sh ] || exec sh src/samebench/hook.sh commit\n",
    f'{WRITTEN}exec sh "$(git rev-parse --git-common-dir)/samebench/src/samebench/hook.sh" commit\n',
)


def _print_line(line: str) -> None:
    print_message(f"hooks: {line}")


def _git(*words: str) -> str:
    """What git answers. Raises CommandError where it fails."""
    result = capture(["git", *words])
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise CommandError(f"git {' '.join(words[:2])}: {lines[-1]}; mend that, then the same command again")
    return result.stdout.rstrip("\n")


def _config(option: str) -> str:
    """A setting of this clone; "" where it has none."""
    return output_of(["git", "config", "--local", option])


# ---- make hooks ----


def install(call: Call) -> int:
    """Set git up, once, however often it is asked for; then see that there is an environment to check with."""
    result = capture(["git", "rev-parse", "--show-cdup"])
    if result.returncode or result.stdout.strip():
        _print_line(_explain_no_clone())
        return 0
    _install_copy()
    _install_filter()
    _install_hook()
    if not call.get("SAMEBENCH") and run([sys.executable, "-I", "src/samebench/host", "--ready", "true"]):
        _print_line("no runtime is ready (see above); until one is, commits are refused")
    return 0


def _explain_no_clone() -> str:
    result = capture(["git", "rev-parse", "--git-dir"], environment={**os.environ, "LC_ALL": "C"})
    if "dubious ownership" in result.stderr:
        trust = f"git config --global --add safe.directory '{HOME}'"
        return f"git does not trust {HOME}, which belongs to another user; if you do: {trust} && make hooks"
    if "not a git repository: " in result.stderr:
        what = f"the repository that {HOME}/.git names is not here, as this is a worktree or a submodule"
        return f"{what}; commit on the host, or open the devcontainer of .devcontainer/worktree"
    return "no git clone here, so there is nothing to set up"


def _install_copy() -> None:
    copy = Path(_git("rev-parse", "--git-common-dir")) / "samebench-hooks"
    new = copy.with_name("samebench-hooks.new")
    shutil.rmtree(new, ignore_errors=True)
    sources = [*Path("src/samebench").rglob("*.py"), HOOK_SH]
    for path in (*map(Path, SETTINGS), *sources):
        (new / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, new / path)
    (new / NAMES).write_text(_names_of_sources())
    if _same(new, copy):
        shutil.rmtree(new)
        _print_line(f"the checks in {copy} are those of this checkout")
        return
    shutil.rmtree(copy, ignore_errors=True)
    new.rename(copy)
    _print_line(f"copied the checks of this checkout to {copy}: git runs these, and nothing of a branch")


def _same(new: Path, copy: Path) -> bool:
    """Whether the copy has these files, and in its sources no other one."""
    names = {path.relative_to(new) for path in new.rglob("*") if path.is_file()}
    sources = {path.relative_to(copy) for path in (copy / "src").rglob("*") if path.is_file()}
    return not sources - names and all(
        (copy / path).is_file() and filecmp.cmp(new / path, copy / path, shallow=False) for path in names
    )


def _install_filter() -> None:
    """One process for all notebooks of a command. Required: git takes in no notebook where it fails."""
    if _config("filter.nbstripout.required") != "true":
        _set("required", "true")
    if _config("filter.nbstripout.process") == FILTER:
        _print_line("the notebook filter is already there")
        return
    earlier = _config("filter.nbstripout.clean")
    _set("process", FILTER)
    for option in ("clean", "smudge"):  # of an earlier edition; git would pass them over
        output_of(["git", "config", "--local", "--unset-all", f"filter.nbstripout.{option}"])
    if HOOK_SH.name in earlier:
        _print_line("replaced the notebook filter of an earlier edition")
    else:
        _print_line("set the notebook filter: git add leaves outputs out, and your files keep them")


def _set(option: str, value: str) -> None:
    _git("config", "--local", f"filter.nbstripout.{option}", value)


def _install_hook() -> None:
    path = Path(_git("rev-parse", "--git-path", "hooks")) / "pre-commit"
    own_folder = output_of(["git", "config", "core.hooksPath"])
    text = path.read_text(errors="replace") if path.exists() else ""
    if own_folder:
        what = f"core.hooksPath is set to {own_folder}, so no hook was written"
        _print_line(f"{what}; call this from your own: {CALL}")
    elif not path.exists():
        _write_hook(path)
        _print_line(f"wrote {path}: every commit is checked")
    elif text in EARLIER:
        _write_hook(path)
        _print_line(f"replaced {path} of an earlier edition")
    elif text == HOOK:
        _print_line(f"{path} is already there")
    elif CALL in text:
        _print_line(f"{path} is your own and calls the checks")
    else:
        _print_line(f"{path} is your own and was kept; add this line to it: {CALL}")


def _write_hook(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HOOK)
    path.chmod(path.stat().st_mode | 0o111)


def _names_of_sources() -> str:
    """What lies in src/. The environments have it on Python's path: a new name could stand in for a missing package."""
    names = os.listdir("src") if Path("src").is_dir() else []  # noqa: PTH208 - names, not paths
    return "".join(f"{name}\n" for name in sorted(names) if name != "__pycache__")


# ---- a commit ----


def commit() -> int:
    """Check a copy of the index, not the working tree, which may hold more than is committed, and outputs."""
    if not Path("src/samebench").is_dir():
        return 0  # a branch without us
    staged = Path.cwd() / _git("rev-parse", "--git-path", "samebench-hooks/staged")
    shutil.rmtree(staged, ignore_errors=True)
    (staged / "tree").mkdir(parents=True)
    names = subprocess.run(
        ["git", "diff", "--cached", "--name-only", "--diff-filter=d", "--no-renames", "-z"], stdout=subprocess.PIPE
    )
    if names.returncode:
        return NO
    if not names.stdout:
        return 0
    (staged / "names").write_bytes(names.stdout)
    if run(["git", "checkout-index", "--all", f"--prefix={staged}/tree/"]):
        return NO
    code, lines = _lint(staged)
    if not code:
        return 0
    if code == NO:
        lines = [line for line in lines if not re.search("(Passed|Skipped)$", line)]
        last = "not committed: mend the above, git add, and commit again"
    else:
        last = "not committed, because it could not be checked (see above): mend that, then commit again"
    for line in lines:
        print(line, file=sys.stderr)
    print_message(last)
    return NO


def _lint(staged: Path) -> tuple[int, list[str]]:
    """Code and lines of the checks, in the environment that is there: nothing is built, nothing set up."""
    pythons = [Path(shutil.which("python") or "python")] if os.environ.get("SAMEBENCH") else []
    pythons += [Path.cwd() / name / "bin/python" for name in (".venv", ".venv-gpu")]
    for python in pythons:
        if os.access(python, os.X_OK):
            return _lint_with(python, staged)
    for name in VERSIONS:
        for image in ("samebench:cpu", "samebench:gpu"):
            if succeeds([name, "image", "inspect", image]):
                return _lint_in_image(Engine(name), image, staged)
    return UNCHECKED, ["samebench: no environment yet; make shell sets it up"]


def _lint_with(python: Path, staged: Path) -> tuple[int, list[str]]:
    if output_of(["git", "ls-files", "--", ".venv*"]):
        what = "this branch has files in .venv, where the programs are that check"
        remedy = "git rm -r --cached them, then run make clean and make shell"
        return UNCHECKED, [f"samebench: {what}; {remedy}"]
    if Path.cwd() != HOME and _names_of_sources() != (HOME / NAMES).read_text():
        what = "src/ has other names in it than when make hooks was run"
        return UNCHECKED, [f"samebench: {what}; if you trust this branch, run make hooks"]
    variables = {"PATH": f"{python.parent}:{os.environ.get('PATH', os.defpath)}", **_isolated(HOME)}
    words = [str(python), "-m", "samebench.workspace.lint", f"{staged}/tree", f"{staged}/names"]
    return _lines_of(words, {**os.environ, **variables})


def _isolated(home: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{home}/src", "PYTHONSAFEPATH": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def _lint_in_image(engine: Engine, image: str, staged: Path) -> tuple[int, list[str]]:
    """The container sees the copy of the checks and what is staged, and nothing else of the machine."""
    words = [engine.name, "run", "--rm", "--init", *User(os.getuid(), os.getgid()).engine_words(engine)]
    words += ["--network", "none", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    words += ["--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--env", "HOME=/tmp", "--env", "USER=bench"]
    words += ["--mount", bind(HOME, "/bench")]
    words += ["--mount", bind(staged, "/staged"), "--workdir", "/bench"]
    words += [word for name, value in _isolated(Path("/bench")).items() for word in ("--env", f"{name}={value}")]
    words += [image, "python", "-m", "samebench.workspace.lint", "/staged/tree", "/staged/names"]
    return _lines_of(words, dict(os.environ))


def _lines_of(words: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    result = subprocess.run(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return result.returncode, result.stdout.decode(errors="replace").splitlines()
