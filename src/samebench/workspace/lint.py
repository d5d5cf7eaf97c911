"""Every check of .pre-commit-config.yaml on the files of a tree, whether or not git knows them.

python -m samebench.workspace.lint [TREE [NAMES]]    NAMES: a file with the only names to look at, each ended by a NUL

`make lint` checks the working tree; a commit checks a copy of what is staged (hook.sh), so that nobody's unfinished
work is looked at, put aside or lost. pre-commit wants a repository: it gets an empty one beside the tree.

A commit runs the copy of this module that `make hooks` has made. The checks are then those of that copy, and a tree
that names other programs is refused.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.workspace import commit_checks

CONFIG = ".pre-commit-config.yaml"


def environment(tree: Path, repository: Path) -> dict[str, str]:
    """Our variables, with git turned to `repository` and the caches where the next run finds them."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return variables | {
        "GIT_DIR": str(repository),
        "GIT_WORK_TREE": str(tree),
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
        "PRE_COMMIT_HOME": str(repository / "pre-commit"),
        "RUFF_CACHE_DIR": str(ROOT / ".ruff_cache"),
    }


def lint(tree: Path, names: Sequence[str] | None = None) -> int:
    """Exit code 0 if every hook passes for the files `names` of `tree`, or for all that .gitignore leaves; else 1.

    Raises RequirementError where there is no git program, UsageError where the tree has other checks than this copy of
    the bench.
    """
    check_same_checks(tree)
    if not shutil.which("git"):
        raise RequirementError("no git here, so nothing was checked; install git, then run the same command again")
    with tempfile.TemporaryDirectory(prefix="samebench-") as scratch:
        variables = environment(tree, Path(scratch))
        _git("init", "--quiet", variables=variables, tree=tree)
        variables[commit_checks.FILTERED] = "1" if names is None and commit_checks.has_filter(tree) else ""
        if names is None:
            listed = _git("ls-files", "--others", "--exclude-standard", "-z", variables=variables, tree=tree)
            names = [name for name in listed.split("\0") if name]
        if not names:
            return command.DONE
        words = [
            sys.executable,
            "-m",
            "pre_commit",
            "run",
            "--config",
            str(ROOT / CONFIG),
            "--color",
            _colour(),
            "--files",
            *names,
        ]
        return command.NO if subprocess.run(words, cwd=tree, env=variables).returncode else command.DONE


def check_same_checks(tree: Path) -> None:
    """Raise UsageError where `tree` names other programs to run than we do: in its list of checks, or for mypy."""
    remedy = "differs from what make hooks has installed; if you trust this branch, run make hooks"
    if (tree / CONFIG).read_bytes() != (ROOT / CONFIG).read_bytes():
        raise UsageError(f"{CONFIG}: {remedy}")
    if _mypy_settings(tree) != _mypy_settings(ROOT):
        raise UsageError(f"pyproject.toml: [tool.mypy] {remedy}")


def _mypy_settings(tree: Path) -> Any:
    return tomllib.loads((tree / "pyproject.toml").read_text()).get("tool", {}).get("mypy")


def _git(*words: str, variables: dict[str, str], tree: Path) -> str:
    return subprocess.run(["git", *words], cwd=tree, env=variables, check=True, capture_output=True, text=True).stdout


def _colour() -> str:
    return "always" if sys.stdout.isatty() else "never"


def main(argv: Sequence[str]) -> int:
    """The command line."""
    tree = Path(argv[0]).resolve() if argv else ROOT
    names = [name for name in Path(argv[1]).read_text().split("\0") if name] if len(argv) > 1 else None
    return lint(tree, names)


if __name__ == "__main__":
    command.run(main)
