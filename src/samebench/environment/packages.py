"""Adds packages to `pyproject.toml` or removes them, and locks: `make add PKG="name>=2"`, `make remove PKG=name`.

    python -m samebench.environment.packages add       PACKAGES, a variable, has them with spaces between
    python -m samebench.environment.packages remove

Either `pyproject.toml` and every lock are written, or nothing is.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.core.text import printable
from samebench.environment import lock, package_index, torch_builds

PROJECT = "pyproject.toml"
REQUIRED = {"torch", "uv"}  # the locks can't be written without them
NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
BOUND = r"(?:===|==|~=|!=|<=|>=|<|>)[A-Za-z0-9.*+!_-]+"
REQUIREMENT = re.compile(rf"({NAME})(\\[{NAME}(?:,{NAME})*\\])?({BOUND}(?:,{BOUND})*)?".replace("\\\\", "\\"))
LONGEST = 10  # lines of one package each
IMAGES = {lock.SHARED: ("CPU", "GPU"), lock.CPU: ("CPU",), lock.GPU: ("GPU",)}


class Change(NamedTuple):
    """A package that came into a lock ("+") or went out of it ("-")."""

    sign: str
    lock: str
    pin: lock.Pin


def requirements(text: str) -> list[str]:
    """The requirements in the value of PKG. Raises UsageError for what is none, or can't be locked by hash."""
    normalized = re.sub(r"\s*(===|==|~=|!=|<=|>=|<|>|,|@)\s*", r"\1", printable(text))
    words = normalized.split()
    if not words:
        raise UsageError('PKG is empty; give a package, such as make add PKG="pandas>=2"')
    for word in words:
        if not word.startswith("-") and re.search(r"://|@|/|\.(whl|zip|tar\.gz)$", word):
            raise UsageError(
                f"PKG={word}: an address or a file has no hash in an index, so it can't be locked; "
                "put a wheel of it on an index (PIP_INDEX_URL), or its source into src/"
            )
        if not REQUIREMENT.fullmatch(word):
            raise UsageError(
                f'PKG={word}: not a package; give names with or without bounds, such as PKG="pandas>=2 timm"'
            )
    return words


def edit_requirements(verb: str, words: Sequence[str], folder: Path) -> str:
    """The text of `pyproject.toml` after `uv add` or `uv remove`, done to a copy in `folder`.

    Raises UsageError with uv's own words.
    """
    shutil.copy(ROOT / PROJECT, folder)
    result = subprocess.run(
        ["uv", verb, "--frozen", "--quiet", "--project", folder, "--python", sys.executable, "--", *words],
        cwd=folder, env=without_indexes(), capture_output=True, text=True,
    )  # fmt: skip
    if result.returncode:
        raise UsageError(f"{' '.join(words)}: {lock.uv_message(result.stderr)}")
    return (folder / PROJECT).read_text()


def without_indexes() -> dict[str, str]:
    """Our variables without those of uv, which would write the address of a mirror into `pyproject.toml`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("UV_") or name == "UV_CACHE_DIR"}


def check_removable(words: Sequence[str]) -> None:
    """Raise UsageError for a package that `pyproject.toml` does not ask for, or that nothing works without."""
    project = tomllib.loads((ROOT / PROJECT).read_text())["project"]
    declared = {package_index.normalize(re.split(r"[^A-Za-z0-9._-]", each)[0]) for each in project["dependencies"]}
    for word in words:
        name = package_index.normalize(word)
        if name in REQUIRED:
            raise UsageError(f"PKG={word}: the locks can't be written without it; leave it in")
        if name not in declared:
            raise UsageError(f"PKG={word}: not in the dependencies of {PROJECT}; give a name that stands there")


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[Change]:
    """What came into the workspaces' locks and what went, by the locks' texts before and after."""
    result = []
    for name in IMAGES:
        old, new = (lock.parse(texts.get(name, "")) for texts in (before, after))
        result += [Change("+", name, pin) for pin in new if pin[0] not in dict(old)]
        result += [Change("-", name, pin) for pin in old if pin[0] not in dict(new)]
    result = [each for each in result if each.lock != lock.CPU or "===" not in each.pin[0]]  # not those for macOS
    return sorted(result, key=lambda each: (each.sign, each.pin[0]))


def download_size(change: Change, python: str) -> int | None:
    """The bytes of the wheel for Linux on x86_64; 0 if it has none, None if no index gives it."""
    name, version = re.split("={2,3}", change.pin[0])
    index = torch_builds.torch_index() if change.pin[0].endswith(torch_builds.CPU_SUFFIX) else package_index.address()
    local = {each.release(): each for each in package_index.wheelhouse() if each.matches(python, "x86_64")}
    if size := local.get((name, version)):
        return size.size
    try:
        wheel = package_index.wheel(package_index.files(index, name), change.pin[1], python=python)
    except RequirementError:
        return None
    return package_index.size(wheel) if wheel else 0


def report(changes: Sequence[Change], python: str) -> Iterator[str]:
    """The lines that say what changed, and by how much the download of each image grows."""
    if not changes:
        yield "no package came in or went"
        return
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda each: download_size(each, python), changes))
    growth = dict.fromkeys(("CPU", "GPU"), 0)
    rows = []
    for change, size in zip(changes, sizes, strict=True):
        for image in IMAGES[change.lock]:
            growth[image] += (size or 0) * (1 if change.sign == "+" else -1)
        rows.append((change.sign, change.pin[0].replace("===", "=="), change.lock, megabytes(size)))
    widths = [max(len(row[column]) for row in rows[:LONGEST]) for column in (1, 2)]
    for sign, pin, name, size_text in rows[:LONGEST]:
        yield f"{sign} {pin:<{widths[0]}}  {name:<{widths[1]}}  {size_text:>9}"
    if more := len(rows) - LONGEST:
        yield from [f"and {more} more"] if more > 0 else []
    grown = ", ".join(f"{image} image {size / 1e6:+.1f} MB" for image, size in growth.items())
    unknown = ", without those of unknown size" if None in sizes else ""
    yield f"{grown} of wheels to download, for Linux on x86_64{unknown}; installed they are larger"


def megabytes(size: int | None) -> str:
    """A size in bytes as text."""
    return "? MB" if size is None else f"{size / 1e6:.1f} MB"


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if list(argv) not in (["add"], ["remove"]):
        raise UsageError('usage: make add PKG="name>=2", or make remove PKG=name')
    words = requirements(os.environ.get("PACKAGES", ""))
    if argv[0] == "remove":
        check_removable(words)
    before = {name: path.read_text() for name in IMAGES if (path := ROOT / name).is_file()}
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        project = edit_requirements(argv[0], words, folder)
        texts = lock.locks(folder)
    lock.write({PROJECT: project, **texts})
    for line in report(changes(before, texts), lock.declared_requirements()[0]):
        print(line)
    print("make build builds the image of these locks; without it the next command that needs the image does")


if __name__ == "__main__":
    command.run(main)
