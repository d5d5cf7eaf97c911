"""Git, called so that only the repository of a checkout decides what it says, and no other program is started."""

import os
import subprocess
from collections.abc import Collection
from pathlib import Path

from samebench.core.command import RequirementError
from samebench.core.text import printable

# These say where git's own files and settings are. The others can lead git to another repository, index or program:
# a hook, for one, has GIT_DIR and GIT_INDEX_FILE of the repository that called it.
PASSED_ON = ("GIT_CONFIG", "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM", "GIT_EXEC_PATH")
OWN_VARIABLES = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}  # git's messages in one language
SETTINGS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}")  # both name programs that git starts


class GitError(RequirementError):
    """Git could not answer; the message has the reason and the remedy in one line."""


class NoRepositoryError(GitError):
    """Git is not installed, or the folder is in no repository."""


def run_git(*words: str, root: Path, codes: Collection[int] = (0,), stdin: bytes = b"") -> bytes:
    """The standard output of `git WORDS` in the folder `root`; `codes` are the exit codes that are no failure.

    It is for commands that read; `git diff` takes the user's settings into its output: use `patch`.

    Raises NoRepositoryError where there is no git or no repository, GitError for each other failure: a repository of
    another user, a damaged index, a worktree whose repository is not there, a revision that does not exist.
    """
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    try:
        result = subprocess.run(
            ["git", *settings, *words], cwd=root, env=_environment(), input=stdin, capture_output=True
        )
    except FileNotFoundError as error:
        raise NoRepositoryError("git: not installed here; install it") from error
    except OSError as error:
        raise GitError(f"git: can't be started ({error.strerror}); mend its installation") from error
    if result.returncode in codes:
        return result.stdout
    stderr = result.stderr.decode(errors="replace")
    if "not a git repository (or any " in stderr:  # otherwise the path of one that should be there follows
        raise NoRepositoryError(f"{root}: in no git repository; make one with git init, or clone it")
    raise GitError(_message(words[0], root, stderr, result.returncode))


def patch(*words: str, root: Path, prefix: str = "", codes: Collection[int] = (0,)) -> bytes:
    """`git diff WORDS` as a patch that `git apply` takes in a fresh clone, whatever the user's settings are.

    `prefix` goes before each path: that of `root` in its repository, where `words` name paths as of `root`.
    """
    form = ["--patch", "--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
    form += ["--no-relative", "--unified=3", "--inter-hunk-context=0", f"-O{os.devnull}", "--submodule=short"]
    paths = [f"--src-prefix=a/{prefix}", f"--dst-prefix=b/{prefix}"]
    return run_git("diff", *form, *paths, *words, root=root, codes=codes)


def _environment() -> dict[str, str]:
    passed_on = {
        name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(PASSED_ON)
    }
    return passed_on | OWN_VARIABLES


def _message(verb: str, root: Path, stderr: str, code: int) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    reasons = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines or [f"exit code {code}"]
    remedy = next((line for line in lines if line.startswith("git config ")), "git status there says more")
    return f"{root}: git {verb} failed ({printable(reasons[0], longest=200)}); {printable(remedy)}"
