"""What the defaults give on the real data, and what keeping checkpoints costs there."""

import json
import sys
from pathlib import Path

import pytest
from benchmarks import checkpoints

from apparel import data
from tests import soak
from tests.commands import lacking
from tests.samebench.checkout import ROOT, run

pytestmark = [pytest.mark.soak, pytest.mark.timeout(7200)]


@pytest.fixture(autouse=True)
def images() -> None:
    if not data.HOME.is_dir():
        lacking("the data set is not there; make data fetches it")


def trained(home: Path, *words: str) -> str:
    """Test accuracy and seconds of a training at the defaults, in a process of its own; told as one figure."""
    words = (sys.executable, "-m", "samebench.training", "--data", str(data.HOME), *words)
    done = run(words, cwd=home, variables={"PYTHONPATH": str(ROOT / "src")}, timeout=3600)
    assert done.returncode == 0, done.stderr
    receipt = json.loads(max(home.glob("runs/*/receipt.json")).read_text())
    return f"{receipt['metrics']['test']['accuracy']:.2%} in {receipt['seconds']:.0f} s"


def accuracy(figure: str) -> float:
    return float(figure.split("%", maxsplit=1)[0])


def test_three_seeds_at_the_defaults(tmp_path: Path) -> None:
    figures = [trained(tmp_path, "--seed", str(seed)) for seed in range(3)]
    assert min(map(accuracy, figures)) >= 92.5, figures
    soak.record("three_seeds_at_the_defaults", f"{', '.join(figures)}; {soak.busy()}")


def test_fast_at_the_defaults(tmp_path: Path) -> None:
    figure = trained(tmp_path, "--fast")
    assert accuracy(figure) >= 93, figure
    soak.record("fast_at_the_defaults", f"{figure}; {soak.busy()}")


def test_cost_of_checkpoints() -> None:
    cost = checkpoints.measure()
    assert cost.share < 0.02, cost
    soak.record("cost_of_checkpoints", f"{cost}; {soak.busy()}")
