"""Every check of .pre-commit-config.yaml on the files of a tree, whether or not git knows them.

python -m samebench.workspace.lint [TREE [NAMES]]    NAMES: a file with the only names to look at, each ended by a NUL

`make lint` checks the working tree as git would add it. A commit checks a copy of what is staged (hook.sh). Nobody's
unfinished work is put aside or lost. pre-commit needs a repository: it gets an empty one beside the tree.

A commit runs the copy of this module that `make hooks` has made. The checks are then those of that copy, and a tree
that names other programs is refused.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samebench.core import command
from samebench.core.command import UsageError
from samebench.core.git import GitError, run_git
from samebench.core.paths import ROOT
from samebench.workspace import notebook_outputs

CONFIG = ".pre-commit-config.yaml"


def environment(tree: Path, repository: Path) -> dict[str, str]:
    """Our variables, with git turned to `repository` and the caches where the next run finds them."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return variables | {
        "GIT_DIR": str(repository),
        "GIT_WORK_TREE": str(tree),
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
        "PRE_COMMIT_HOME": str(repository / "pre-commit"),
        "RUFF_NO_CACHE": "true",  # it knows a file by its folder, which is new each time
    }


def lint(tree: Path, names: Sequence[str] | None = None) -> int:
    """Exit code 0 if every hook passes for the files `names` of `tree`, or for all that .gitignore leaves; else 1.

    Raises GitError where git is not here or can't read the tree, UsageError where the tree has other checks than this
    copy of the bench.
    """
    check_same_checks(tree)
    with tempfile.TemporaryDirectory(prefix="samebench-") as scratch:
        repository = Path(scratch, "git")
        run_git("init", "--quiet", "--bare", str(repository), root=tree)
        files = ["--files", *names] if names is not None else ["--all-files"]
        if names is None:
            tree = _copy_as_added(tree, Path(scratch, "tree"), repository)
        colour = "always" if sys.stdout.isatty() else "never"
        words = [sys.executable, "-m", "pre_commit", "run", "--config", str(ROOT / CONFIG), "--color", colour, *files]
        code = subprocess.run(words, cwd=tree, env=environment(tree, repository)).returncode
        return command.NO if code else command.DONE


def _copy_as_added(tree: Path, copy: Path, repository: Path) -> Path:
    """A copy of all that .gitignore leaves: without the outputs of notebooks where git in `tree` leaves them out."""
    words = [f"--git-dir={repository}", f"--work-tree={tree}"]
    names = run_git(*words, "ls-files", "--others", "--exclude-standard", "-z", root=tree)
    program = shlex.join([sys.executable, "-I", notebook_outputs.__file__]) if _has_filter(tree) else ""
    setting = f"filter.nbstripout.process={program}"
    run_git(*words, "-c", setting, "update-index", "--add", "-z", "--stdin", root=tree, stdin=names)
    run_git(*words, "checkout-index", "--all", f"--prefix={copy}/", root=tree)
    return copy


def _has_filter(tree: Path) -> bool:
    """Whether git in `tree` has the notebook filter that `make hooks` installs."""
    try:
        return bool(run_git("config", "--local", "filter.nbstripout.process", root=tree, codes=(0, 1)))
    except GitError:
        return False


def check_same_checks(tree: Path) -> None:
    """Raise UsageError where `tree` names other programs to run than we do: in its list of checks, or for mypy."""
    remedy = "differs from what make hooks has installed; if you trust this branch, run make hooks"
    if (tree / CONFIG).read_bytes() != (ROOT / CONFIG).read_bytes():
        raise UsageError(f"{CONFIG}: {remedy}")
    if _mypy_settings(tree) != _mypy_settings(ROOT):
        raise UsageError(f"pyproject.toml: [tool.mypy] {remedy}")


def _mypy_settings(tree: Path) -> Any:
    return tomllib.loads((tree / "pyproject.toml").read_text()).get("tool", {}).get("mypy")


def main(argv: Sequence[str]) -> int:
    """The command line."""
    tree = Path(argv[0]).resolve() if argv else ROOT
    names = [name for name in Path(argv[1]).read_text().split("\0") if name] if len(argv) > 1 else None
    return lint(tree, names)


if __name__ == "__main__":
    command.run(main)
