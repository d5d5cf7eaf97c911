"""`make bench`: the modules of benchmarks/, which are no tests."""

from tests.commands import call
from tests.samebench.checkout import ROOT


def test_one_benchmark_is_chosen_by_name_and_told_its_flags() -> None:
    done = call("-m", "benchmarks", "notebook_start", "--pairs", "1", at=ROOT)
    assert done.returncode == 2
    assert "--pairs 1: give 2 or more" in done.stderr


def test_unknown_benchmark_is_refused_with_the_names_of_those_that_are_there() -> None:
    done = call("-m", "benchmarks", "notebok", at=ROOT)
    assert done.returncode == 2
    assert "notebok: no such benchmark; there are " in done.stderr
