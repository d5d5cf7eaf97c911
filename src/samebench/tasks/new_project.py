"""A project of one's own to start from: a package, its test and a notebook, of which every target works at once.

python -m samebench.tasks.new_project NAME KIND
"""

import importlib.util
import keyword
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebench import project
from samebench.core import command, files
from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.workspace import new_notebook

HOME = Path(__file__).parent
KINDS = {"images": "image_classification", "table": "table", "text": "text_classification"}


def create_project(name: str, kind: str, *, root: Path = ROOT) -> list[Path]:
    """Write the files and return their paths. Raises UsageError for a name that can't be a new package's."""
    if kind not in KINDS:
        raise UsageError(f"KIND={kind}: give one of {', '.join(KINDS)}")
    if not project.NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(f"NAME={name}: no name of a package; give lower-case letters, such as NAME=prices")
    package, tests = root / "src" / name, root / "tests" / name
    if taken := next((path for path in (package, tests) if path.exists()), None):
        raise UsageError(f"NAME={name}: {taken.relative_to(root)} is there; give another name, or work in that one")
    if importlib.util.find_spec(name):
        raise UsageError(f"NAME={name}: a package of that name is installed; give another name")
    notebook = root / "notebooks" / f"{new_notebook.next_number(root / 'notebooks'):02}-{name.replace('_', '-')}.ipynb"
    tests.mkdir()
    for file in ("__init__.py", "test_project.py"):
        content = (HOME / "template" / file).read_bytes() if file != "__init__.py" else b""
        files.write(tests / file, content)
    files.write(notebook, (HOME / "template/project.ipynb").read_text().replace("NAME", name).encode())
    _copy(HOME / KINDS[kind] / "template", package)  # last: with it the project is there
    return [*sorted(package.iterdir()), tests / "test_project.py", notebook]


def _copy(source: Path, target: Path) -> None:
    """Copy the modules of a folder, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as aside:
        made = Path(aside, target.name)
        shutil.copytree(source, made, ignore=shutil.ignore_patterns("__pycache__"))
        made.rename(target)


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
