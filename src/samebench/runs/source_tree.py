"""The source tree of a checkout: every file beside the code decides what comes out, and what git does not have yet.

Caches, hidden files, editors' backups and notebooks decide nothing and are left out.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.git import NoRepositoryError, patch, run_git
from samebench.core.text import printable

SOURCE = "src"
IGNORED = re.compile(r"\..*|__pycache__|.*~|#.*#|.*\.(pyc|pyo|egg-info|ipynb|bak|orig|rej|swp)")
VERSIONS = (":(glob)data/*.sha256", ":(glob)data/*.dvc")  # which versions the names of data sets stand for
NOTEBOOKS = ":(exclude)*.ipynb"  # git would strip each of them first
DOTENV = ":(exclude,glob)**/.env"  # secrets (src/samebench/host/dotenv.py), which no record may hold
LARGE = 16 << 20  # bytes; far above any source, and little enough to keep with each run


def digests(root: Path) -> dict[str, str]:
    """The SHA-256 of each file below src/ by its path as of `root`, whatever its size; links are followed.

    A byte of a name that is no UTF-8 is written as backslash, x and two digits. Raises UsageError for unreadable files.
    """
    digests_by_name = {}
    for path in _source_files(root / SOURCE):
        try:
            digests_by_name[_name(path, root)] = files.digest(path)
        except FileNotFoundError:
            continue  # an editor has just replaced it
        except OSError as error:
            _refuse(error)
    return dict(sorted(digests_by_name.items()))


def commit(root: Path) -> str | None:
    """The commit that is checked out; None without git, without a repository and before its first commit.

    Raises GitError.
    """
    try:
        answer = run_git("rev-parse", "--verify", "--quiet", "HEAD", root=root, codes=(0, 1))
    except NoRepositoryError:
        return None
    return answer.decode().strip() or None


def is_dirty(root: Path) -> bool:
    """Whether anything is not as in the commit that is checked out. Raises GitError."""
    untracked, left_out = _untracked(root)
    return bool(untracked or left_out or _changed_paths(root, submodules="untracked"))


def uncommitted(root: Path) -> bytes:
    """What was changed since the commit, as a patch for `git apply`; empty where there is no commit.

    New sources and new versions of data sets are in it, whatever git is told to ignore. Raises GitError.
    """
    if not commit(root):
        return b""
    prefix = os.fsdecode(run_git("rev-parse", "--show-prefix", root=root)).removesuffix("\n")
    changed = _changed_paths(root, submodules="dirty")
    # `--no-index` says by 1 that there is a difference.
    added = [
        patch("--no-index", "--", os.devnull, name, root=root, prefix=prefix, codes=(0, 1))
        for name in _untracked(root)[0]
    ]
    return b"".join([changed, *added])


def _changed_paths(root: Path, *, submodules: str) -> bytes:
    """What differs from the commit in the files that git knows, also where git is told to take one as unchanged."""
    hidden = _hidden(root)
    others = [f":(exclude,literal){name}" for name in hidden]
    diff = patch(f"--ignore-submodules={submodules}", "HEAD", "--", ".", NOTEBOOKS, DOTENV, *others, root=root)
    return b"".join([diff, *(patch(f"HEAD:./{name}", "--", name, root=root) for name in hidden)])


def _hidden(root: Path) -> list[str]:
    """The files of the commit, here, at which git does not look: `--assume-unchanged`, `--skip-worktree`."""
    listed = _names(run_git("ls-files", "-v", "-z", "--", ".", NOTEBOOKS, DOTENV, root=root))
    flagged = [line[2:] for line in listed if line[0] == "S" or line[0].islower()]
    if not flagged:
        return []
    committed = set(_names(run_git("ls-tree", "-r", "-z", "--name-only", "HEAD", "--", ".", root=root)))
    return [name for name in flagged if name in committed and os.path.lexists(root / name)]


def notices(root: Path) -> list[str]:
    """A line for each file below src/ that is too large for a source, or that `uncommitted` leaves out.

    Raises GitError.
    """
    left_out = dict.fromkeys(_untracked(root)[1] if commit(root) else [], "not in uncommitted.diff")
    for path in _source_files(root / SOURCE):
        if (size := path.stat().st_size) > LARGE:
            name = os.fspath(path.relative_to(root))
            also = f" and {left_out[name]}" if name in left_out else ""
            left_out[name] = f"{size:,} bytes, read at each start{also}; move it to data/"
    return [
        printable(f"{os.fsencode(name).decode(errors='backslashreplace')}: {what}") for name, what in left_out.items()
    ]


def _source_files(folder: Path) -> Iterator[Path]:
    """Every regular file that counts, in the order of names; a folder that is met again by a link is left out."""
    visited: set[str] = set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=_refuse_unreadable):
        real = os.path.realpath(directory)
        folders[:] = [] if real in visited else sorted(name for name in folders if not IGNORED.fullmatch(name))
        counted = [] if real in visited else sorted(name for name in names if not IGNORED.fullmatch(name))
        visited.add(real)
        yield from (path for path in (Path(directory, name) for name in counted) if _is_regular(path))


def _is_regular(path: Path) -> bool:
    """Whether there is a file, at the end of a link too; a pipe or a link to nothing has no content."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        _refuse(error)


def _refuse_unreadable(error: OSError) -> None:
    """Raise UsageError for a folder that can't be read; one that is gone has no files."""
    if not isinstance(error, FileNotFoundError):
        _refuse(error)


def _refuse(error: OSError) -> NoReturn:
    where = os.fsencode(error.filename).decode(errors="backslashreplace")
    raise UsageError(
        f"{where}: can't be read ({error.strerror}), and what lies beside the code decides what comes out; "
        "make it readable, or move it out of src/"
    ) from error


def _untracked(root: Path) -> tuple[list[str], list[str]]:
    """The new files that a patch can hold, and what it can't: large files, other repositories, links to folders."""
    words = ("ls-files", "--others", "-z")
    sources = _names(run_git(*words, "--", SOURCE, NOTEBOOKS, DOTENV, root=root))
    versions = _names(run_git(*words, "--exclude-standard", "--", *VERSIONS, root=root))
    new = [name for name in sources if not any(map(IGNORED.fullmatch, name.rstrip("/").split("/")))]
    left_out = [name for name in new if (root / name).is_dir() or (root / name).lstat().st_size > LARGE]
    return [name for name in [*new, *versions] if name not in left_out], left_out


def _names(listed: bytes) -> list[str]:
    return [name for name in os.fsdecode(listed).split("\0") if name]


def _name(path: Path, root: Path) -> str:
    return os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")
