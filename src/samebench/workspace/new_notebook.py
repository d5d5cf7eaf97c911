"""A new notebook: numbered, without outputs, ready to run.

python -m samebench.workspace.new_notebook NAME    notebooks/NN-NAME.ipynb from notebooks/.starter.ipynb
"""

import re
from collections.abc import Sequence
from pathlib import Path

from samebench import project
from samebench.core import command
from samebench.core.command import UsageError
from samebench.core.paths import ROOT

HOME = ROOT / "notebooks"
TEMPLATE = ".starter.ipynb"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def next_number(home: Path) -> int:
    """One above the highest number in use, so that a notebook's place in the row never changes."""
    numbers = [re.match(r"\d+(?=-)", path.name) for path in home.glob("*.ipynb")]
    return max((int(number[0]) for number in numbers if number), default=0) + 1


def create_notebook(name: str, *, home: Path = HOME, package: str = "") -> Path:
    """Write the notebook and return its path. Raises UsageError for a name that can't be a file's everywhere.

    Its project is `package`, by default the one on the bench.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME={name}: give lower-case words joined by hyphens, such as NAME=compare-shoes")
    if existing := next(home.glob(f"[0-9]*-{name}.ipynb"), None):
        raise UsageError(f"NAME={name}: {existing.name} is there; give another name, or work in that one")
    path = home / f"{next_number(home):02}-{name}.ipynb"
    text = (HOME / TEMPLATE).read_text(encoding="utf-8")
    text = text.replace("TITLE", name.replace("-", " ").capitalize()).replace("PACKAGE", package or project.name())
    with path.open("x", encoding="utf-8", newline="\n") as file:
        file.write(text)
    return path


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if len(argv) > 1:
        raise UsageError(f"NAME={' '.join(argv)}: give one name, its words joined by hyphens")
    print(create_notebook(argv[0] if argv else "").relative_to(HOME.parent))


if __name__ == "__main__":
    command.run(main)
