"""A project of one's own to start from: a package, its test and a notebook, of which every target works at once.

python -m samebench.tasks.new_project NAME KIND
"""

import importlib.util
import keyword
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebench import project
from samebench.core import command, files
from samebench.core.command import UsageError
from samebench.core.paths import ROOT

HOME = Path(__file__).parent
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
KINDS = {"images": "image_classification", "table": "table", "text": "text_classification"}


def create_project(name: str, kind: str, *, root: Path = ROOT) -> list[Path]:
    """Write the files and return their paths. Raises UsageError for a name that can't be a new package's."""
    if kind not in KINDS:
        raise UsageError(f"KIND={kind}: give one of {', '.join(KINDS)}")
    if not NAME.fullmatch(name) or not project.NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"NAME={name}: no name for a package; give lower-case words, such as NAME=house_prices")
    package, tests = root / "src" / name, root / "tests" / name
    if existing := next((path for path in (package, tests) if path.exists()), None):
        raise UsageError(f"NAME={name}: {existing.relative_to(root)} is there; give another name, or work in that one")
    if importlib.util.find_spec(name):
        raise UsageError(f"NAME={name}: a package of that name is installed; give another name")
    notebooks, title = root / "notebooks", name.replace("_", "-")
    if existing := next(notebooks.glob(f"[0-9]*-{title}.ipynb"), None):
        raise UsageError(f"NAME={name}: {existing.name} is there; give another name")
    notebook = notebooks / f"{_next_number(notebooks):02}-{title}.ipynb"
    notebooks.mkdir(exist_ok=True)  # a team may have deleted the pilot's, and the folder with them
    text = (HOME / "template/project.ipynb").read_text(encoding="utf-8")
    text = text.replace("TITLE", title.replace("-", " ").capitalize()).replace("PACKAGE", name)
    files.write(notebook, text.encode())
    _copy(HOME / "template", tests)
    _copy(HOME / KINDS[kind] / "template", package)
    return [*sorted(package.iterdir()), tests / "test_project.py", notebook]


def _next_number(notebooks: Path) -> int:
    """One above the highest number in use, so that a notebook's place in the row never changes."""
    numbers = [re.match(r"\d+(?=-)", path.name) for path in notebooks.glob("*.ipynb")]
    return max((int(number[0]) for number in numbers if number), default=0) + 1


def _copy(source: Path, target: Path) -> None:
    """Copy the modules of a folder, all or none."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as scratch:
        copy = Path(scratch, target.name)
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__", "*.ipynb"))
        copy.rename(target)


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if len(argv) != 2:
        raise UsageError(f"give NAME= and KIND={'|'.join(KINDS)}, such as make new-project NAME=prices KIND=table")
    name, kind = argv
    for path in create_project(name, kind):
        print(path.relative_to(ROOT))
    print(f'next: make train PROJECT={name}; to put it on the bench for all: project = "{name}" in pyproject.toml')


if __name__ == "__main__":
    command.run(main)
