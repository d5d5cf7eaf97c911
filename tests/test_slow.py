"""The list of slow tests names tests that are there."""

from pathlib import Path

import pytest

from tests.slow import EXAMPLES, SLOW, is_slow

HOME = Path(__file__).parent


@pytest.mark.parametrize("file", SLOW)
def test_each_of_the_list_is_there(file: str) -> None:
    if not (HOME / file).parent.is_dir():
        pytest.skip(f"tests/{Path(file).parent} is not there")
    text = (HOME / file).read_text()
    assert [name for name in SLOW[file] if f"\ndef {name}(" not in text] == []


def test_a_test_of_the_list_is_slow_but_for_its_example() -> None:
    (example,) = EXAMPLES
    assert is_slow(f"tests/{example.partition('[')[0]}[before open]")
    assert not is_slow(f"tests/{example}")
    assert not is_slow("tests/training/test_kill.py::test_killed_at")
