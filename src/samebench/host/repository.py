"""What git in a container has of the host's git: who commits, and the repository of a worktree or a submodule."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from samebench.host.files import bind, make_writable
from samebench.host.process import capture, output_of, print_message, succeeds

FOLDER = Path(".samebench/git")
IDENTITY = ("user.name", "user.email", "gpg.format", "user.signingKey")


def git(*words: str) -> str:
    """What git answers about this checkout, whatever a git that has called us has set; "" where it fails."""
    variables = {name: value for name, value in os.environ.items() if name not in LOCATIONS}
    result = capture(["git", *words], environment=variables)
    return "" if result.returncode else result.stdout.rstrip("\n")


LOCATIONS = {"GIT_DIR", "GIT_COMMON_DIR", "GIT_WORK_TREE"}


def write_identity() -> None:
    """For git in the user's own shell and JupyterLab: who commits, and the key's name. No program, no alias."""
    make_writable(".samebench", str(FOLDER))
    file = FOLDER / "system"
    file.unlink(missing_ok=True)
    file.write_text("[include]\n\tpath = /etc/gitconfig\n")
    for option in IDENTITY:
        value = output_of(["git", "config", "--get", option])
        if value and option == "user.signingKey":
            value = _public_key(value)
        if value:
            output_of(["git", "config", "--file", str(file), option, value])


def _public_key(value: str) -> str:
    """A signing key as git takes it without the file: that of an SSH key by the public key itself."""
    if output_of(["git", "config", "--get", "gpg.format"]) != "ssh" or value.startswith(("key::", "ssh-")):
        return value
    name = output_of(["git", "config", "--type", "path", "--get", "user.signingKey"])
    try:
        lines = Path(f"{name.removesuffix('.pub')}.pub").read_text().splitlines()
    except OSError:
        return ""
    return f"key::{lines[0]}" if lines else ""


def is_trusted_of_another() -> bool:
    """Whether the checkout belongs to another user, and the git of the host trusts it all the same (safe.directory)."""
    return Path().stat().st_uid != os.getuid() and succeeds(["git", "rev-parse", "--git-dir"])


def mounts() -> list[str]:
    """Mounts for the repository of a worktree or a submodule, which lies out of the checkout; none for a clone.

    The container reads it, by paths that are right in there, and can't change what is other checkouts', too.
    """
    if Path(".git").is_dir():
        return []
    here = Path.cwd()
    folder = git("rev-parse", "--absolute-git-dir")
    if not folder:
        if os.path.lexists(".git"):
            what = f"git: the repository that {here}/.git names is not there or not yours"
            print_message(f"{what}, so no commit is recorded; git status says more")
        return []
    if not Path(".git").exists():
        what = f"git: {here} is a folder in a repository, which the container does not see, so no commit is recorded"
        print_message(f"{what}; use RUNTIME=local, or a clone or submodule of its own")
        return []
    make_writable(".samebench")
    FOLDER.mkdir(exist_ok=True)
    repository = Path(git("rev-parse", "--git-common-dir")).resolve()
    (FOLDER / "file").write_text(f"gitdir: {folder}\n")
    config = FOLDER / "config"
    shutil.copy(repository / "config", config)  # and its mode: an address in it can have a token
    # A submodule's repository names the checkout, by a path out here.
    if succeeds(["git", "config", "--file", str(config), "core.worktree"]):
        output_of(["git", "config", "--file", str(config), "--unset", "core.worktree"])
    return [
        bind(repository, repository, "readonly"),
        bind(here / FOLDER / "file", "/workspace/.git", "readonly"),
        bind(here / FOLDER / "config", repository / "config", "readonly"),
    ]
