"""Answers `pip`, `python -m pip` and `%pip` in the workspace, where packages come from the locks and pip itself is not.

uv does what only looks: `pip list`, `show`, `freeze`, `check`, `tree`. All else installs nothing and says what does.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

LOOKS = {"check", "freeze", "list", "show", "tree"}
INSTALLS = {"download", "install", "wheel"}
WITH_VALUE = {"-c", "-f", "-i", "-r", "-t", "--constraint", "--extra-index-url", "--find-links", "--index-url"}
WITH_VALUE |= {"--prefix", "--requirement", "--root", "--target"}


def packages(arguments: Sequence[str]) -> list[str]:
    """The packages among the arguments of `pip install`."""
    pairs = zip(["", *arguments], arguments, strict=False)
    return [word for before, word in pairs if not word.startswith("-") and before not in WITH_VALUE]


def answer(arguments: Sequence[str]) -> str:
    """The line for a command that would change what is installed."""
    command, *rest = arguments or [""]
    names = shlex.quote(" ".join(packages(rest)) or "NAME")
    if command == "uninstall":
        return f"pip: nothing was removed, as this workspace is what its locks say; make remove PKG={names}"
    if command in INSTALLS:
        return (
            "pip: nothing was installed, as this workspace is what its locks say; "
            f"make add PKG={names} is for the team, make try PKG={names} for a while"
        )
    return (
        "pip: not here, as this workspace is what its locks say; "
        "make add PKG=NAME is for the team, make try PKG=NAME for a while, and pip list, show and freeze work"
    )


def main(arguments: Sequence[str]) -> int:
    """The command line; exit code 2 for all that uv does not answer."""
    uv = Path(sys.executable).with_name("uv")
    if arguments and arguments[0] in LOOKS and uv.exists():
        sys.stdout.flush()
        os.execv(uv, [str(uv), "pip", arguments[0], "--python", sys.executable, *arguments[1:]])  # noqa: S606
    print(answer(arguments), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
