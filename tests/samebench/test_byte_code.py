"""The byte code of an image: the same bits from a compiler and from the cache."""

import importlib.util
import sys
from pathlib import Path

import pytest

from .checkout import ROOT, run


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A folder with a package of two modules, one that is no code, and tests."""
    sources = {
        "a.py": "answer = 41\n",
        "b.py": "name = 'b'\n",
        "newer.py": "def (:\n",
        "tests/c.py": "",
        "bin/d.txt": "",
    }
    for name, source in sources.items():
        path = tmp_path / "environment/package" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path / "environment"


def compile_all(environment: Path, cache: str = "cache") -> dict[str, bytes]:
    """The byte code by the module's name, after removing what was there."""
    for path in environment.rglob("*.pyc"):
        path.unlink()
    program = ROOT / "src/samebench/environment/byte_code.py"
    done = run([sys.executable, program, environment, environment.parent / cache], cwd=environment.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return {path.name.partition(".")[0]: path.read_bytes() for path in environment.rglob("*.pyc")}


def test_byte_code_has_no_clock_and_is_there_for_all_code_but_tests(environment: Path) -> None:
    compiled = compile_all(environment)
    assert set(compiled) == {"a", "b"}
    source = (environment / "package/a.py").read_bytes()
    assert compiled["a"][4:16] == b"\1\0\0\0" + importlib.util.source_hash(source)


def test_byte_code_of_the_cache_has_the_bits_of_a_new_one(environment: Path) -> None:
    first = compile_all(environment)
    second = compile_all(environment)
    assert second == first == compile_all(environment, "other cache")


def test_the_cache_is_used_for_the_same_source_and_for_no_other(environment: Path) -> None:
    compile_all(environment)
    (cached,) = (environment.parent / "cache").rglob("a.pyc")
    cached.write_bytes(cached.read_bytes() + b"more")
    assert compile_all(environment)["a"].endswith(b"more")
    (environment / "package/a.py").write_text("answer = 42\n")
    assert not compile_all(environment)["a"].endswith(b"more")
