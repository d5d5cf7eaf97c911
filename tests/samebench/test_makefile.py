"""The Makefile's own words."""

import shutil
from pathlib import Path

import pytest

from .checkout import ROOT, run

SWITCHES = {"YES": "prune", "FAST": "train", "QUICK": "reproduce", "JSON": "runs"}


@pytest.mark.parametrize(("switch", "target"), SWITCHES.items())
def test_a_switch_is_on_off_or_refused(switch: str, target: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    flag = f"--{switch.lower()}"

    def shown(value: str) -> str:
        done = run(["make", "--dry-run", target, f"{switch}={value}"], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert flag in shown("1")
    assert flag not in shown("0") + shown("")
    for wrong in ("no", "false", "y"):
        done = run(["make", "--dry-run", target, f"{switch}={wrong}"], cwd=tmp_path)
        assert done.returncode == 2
        assert f"{switch}={wrong}: give {switch}=1, or leave it out." in done.stderr
