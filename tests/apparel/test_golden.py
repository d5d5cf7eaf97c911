"""The golden run: the hash in git is that of the pilot's weights."""

import platform

import pytest

from apparel import data
from samebench.data import listing
from samebench.training import reproduction
from tests.commands import SOURCE, call, lacking


def test_the_golden_run_has_the_weights_that_git_knows() -> None:
    if platform.machine() not in listing.read(reproduction.golden_path()):
        pytest.skip(f"no golden hash for {platform.machine()} in git yet")
    if not data.HOME.is_dir() and call("-m", "samebench.data.fetch", at=SOURCE.parent).returncode:
        lacking("the data set is not there and can't be fetched")
    done = call("-m", "samebench.training.reproduce", "--quick", at=SOURCE.parent)
    assert done.returncode == 0, done.stdout + done.stderr
