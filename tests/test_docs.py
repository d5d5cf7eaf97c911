"""The pages for people: their links lead to something, and the index names every page."""

import re
import shlex
import subprocess
from itertools import takewhile
from pathlib import Path

import pytest

from samebench.core.paths import ROOT
from tests.commands import environment

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_and_a_heading(page: Path) -> None:
    lost = []
    for target in (first or second for first, second in LINK.findall(page.read_text())):
        name, _, anchor = target.partition("#")
        if re.match(r"https?:", name):
            continue
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


def test_the_index_names_every_page() -> None:
    names = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {name for name in names if f"]({name}" not in (ROOT / "docs/README.md").read_text()} == set()


def commands(page: Path) -> list[str]:
    """The lines in a page's blocks of code that begin with `make`."""
    blocks = re.findall(r"^```\n(.*?)^```", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("make ")]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page) and page.name != "bench.md"], ids=lambda page: page.name
)
def test_make_knows_every_target_and_variable_that_a_page_prints(page: Path) -> None:
    for line in commands(page):
        words = takewhile(lambda word: word[0] not in ">|;&…", shlex.split(line, comments=True))
        done = subprocess.run([*words, "--dry-run"], cwd=ROOT, env=environment(), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), line
