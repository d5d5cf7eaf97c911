"""`make try`: packages on top of the workspace, gone afterwards, and in the receipts of runs made there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import call
from tests.samebench import indexes
from tests.samebench.checkout import ROOT, run

TRAIN = ("-m", "samebench.training", "--data", "synthetic", "--network", "linear", "--epochs", "1")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables for two indexes on loopback: one with small packages, one for torch's builds."""
    folder = tmp_path_factory.mktemp("index")
    indexes.publish(folder / "python", "small", "1.0", needs=("smaller", "numpy"))
    indexes.publish(folder / "python", "smaller", "2.0")
    indexes.publish(folder / "python", "old", "1.0", needs=("numpy<2",))
    with indexes.serve(folder / "python", as_json=True) as address:
        yield {"PIP_INDEX_URL": address, "UV_CACHE_DIR": str(folder / "cache"), "UV_HTTP_RETRIES": "0"}


def make_try(index: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """`make try` as in `make shell`, where the environment is this one."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return run(["make", "try", *words], cwd=ROOT, variables={**index, "SAMEBENCH": "1", "PATH": path})


def test_packages_are_there_for_one_command_and_gone_afterwards(index: dict[str, str]) -> None:
    done = make_try(index, "PKG=small", "ARGS=python -c 'import numpy, small, smaller; print(small.__file__)'")
    assert done.returncode == 0, done.stderr
    said, place = done.stdout.splitlines()
    assert said.endswith("small==1.0, smaller==2.0")
    assert not Path(place).exists()
    assert run([sys.executable, "-c", "import small"], cwd=ROOT).returncode != 0


def test_exit_code_is_that_of_the_command(index: dict[str, str]) -> None:
    assert "Error 7" in make_try(index, "PKG=small", "ARGS=python -c 'raise SystemExit(7)'").stderr


@pytest.mark.parametrize(("package", "words"), [("old", "numpy<2"), ("nosuch", "nosuch"), ("./x", "has no hash")])
def test_what_the_locks_rule_out_is_refused_in_one_line(index: dict[str, str], package: str, words: str) -> None:
    done = make_try(index, f"PKG={package}", "ARGS=true")
    (line,) = [each for each in done.stderr.splitlines() if not each.startswith("make:")]
    assert words in line
    assert "Error 2" in done.stderr


def test_runs_made_there_say_so_and_reproduce_names_it(index: dict[str, str], tmp_path: Path) -> None:
    words = ("-m", "samebench.environment.overlay", sys.executable, *TRAIN)
    done = call(*words, at=tmp_path, changes={**index, "PACKAGES": "small"})
    assert done.returncode == 0, done.stderr
    assert "drift: overlay: small==1.0 by make try" in done.stderr
    (path,) = tmp_path.glob("runs/*/receipt.json")
    receipt = json.loads(path.read_text())
    assert receipt["overlay"] == ["small==1.0", "smaller==2.0"]
    assert "PYTHONPATH" not in receipt["fingerprint"]["variables"]
    again = call("-m", "samebench.training.reproduce", "--run", str(path.parent), at=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "overlay: ['small==1.0', 'smaller==2.0'] then, nothing now" in again.stdout
    later = max(tmp_path.glob("runs/*/receipt.json"), key=lambda each: each.stat().st_mtime)
    assert "overlay" not in json.loads(later.read_text())
