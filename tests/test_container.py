"""The list of tests that are repeated in the container names tests that are there."""

from pathlib import Path

import pytest

from tests.container import REPEATED, repeated

HOME = Path(__file__).parent


@pytest.mark.parametrize("name", REPEATED)
def test_each_of_the_list_is_there(name: str) -> None:
    file, _, test = name.partition("::")
    if not (HOME / file).parent.is_dir():
        pytest.skip(f"tests/{Path(file).parent} is not there")
    assert f"\ndef {test}" in (HOME / file).read_text()


def test_a_test_of_the_list_is_repeated_and_another_is_not() -> None:
    assert repeated("tests/samebench/test_git.py::test_a[x]")
    assert repeated("tests/samebench/test_dvc.py::test_it_sees_its_own_packages")
    assert not repeated("tests/samebench/test_dvc.py::test_two_that_start_at_once_install_once")
    assert not repeated("tests/samebench/test_table.py::test_a")
