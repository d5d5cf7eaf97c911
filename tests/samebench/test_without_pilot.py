"""A team that deletes the pilot keeps a bench that is tested: docs/project.md has the line."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from .checkout import ROOT, run

PROJECTS = {path.parent.name for path in ROOT.glob("src/*/settings.py")} | {"apparel"}
RECIPE = re.search(r"^git rm -r (.+)$", (ROOT / "docs/project.md").read_text(), flags=re.MULTILINE)
ABOUT_BOTH = "import pytest\n@pytest.mark.project('apparel')\ndef test(): assert False\ndef test_bench(): pass\n"


def test_no_test_of_the_bench_imports_a_project() -> None:
    tests = ROOT / "tests"
    for path in sorted({*tests.rglob("*.py")} - {*tests.glob("node/node_modules/**/*.py")}):
        if path.relative_to(tests).parts[0] not in PROJECTS:
            names = re.findall(r"^ *(?:from|import) (?:tests\.)?(\w+)", path.read_text(), flags=re.MULTILINE)
            assert not {*names} & (PROJECTS - {"samebench"}), path


def test_the_line_that_deletes_it_names_what_is_there() -> None:
    assert RECIPE
    if not (ROOT / "src/apparel").is_dir():
        pytest.skip("src/apparel is not there")
    assert [pattern for pattern in shlex.split(RECIPE[1]) if not list(ROOT.glob(pattern))] == []


def test_what_is_about_the_pilot_is_skipped_in_one_line_where_it_is_gone(tmp_path: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "apparel", "node_modules")
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignore)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "tests/apparel").mkdir()
    for number in (1, 2):
        (tmp_path / f"tests/apparel/test_{number}.py").write_text("from apparel import data\n")
    (tmp_path / "tests/samebench/test_both.py").write_text(ABOUT_BOTH)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/apparel", "tests/samebench/test_both.py"]
    done = run(words, cwd=tmp_path, variables={"PYTHONPATH": str(tmp_path / "src")})
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("SKIPPED")]
    assert re.fullmatch(r"SKIPPED \[3\] tests/conftest\.py:\d+: src/apparel is not there", line)
    assert "1 passed, 3 skipped" in done.stdout
    assert done.returncode == 0
