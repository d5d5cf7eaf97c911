"""What drifted from the locks is said when a training starts, and a receipt tells what it was trained with."""

import os
import time
from pathlib import Path

import pytest

from samebench.environment import drift, fingerprint
from samebench.runs import receipt
from tests.commands import call

from .installed import install, install_torch

TRAIN = ["-m", "samebench.training", "--data", "synthetic", "--epochs", "1", "--network", "linear"]


class Bench:
    """A checkout with two locks, and the environment that was made from them a while ago."""

    def __init__(self, folder: Path) -> None:
        self.root, self.prefix = folder / "checkout", folder / "venv"
        self.site = self.prefix / "lib/python3/site-packages"
        install(self.site, "numpy", "2.1.0", {"numpy/__init__.py": "one = 1\n", "numpy/core/x.so": "two = 2\n"})
        install_torch(self.site)
        (self.root / "docker").mkdir(parents=True)
        (self.root / "requirements.lock").write_text("numpy==2.1.0 \\\n    --hash=sha256:00\n")
        (self.root / "docker/cpu.lock").write_text("torch==2.13.0+cpu \\\n    --hash=sha256:00\n")

    def examine(self) -> dict[str, object]:
        found = drift.examine(root=self.root, prefix=self.prefix, site=self.site)
        assert found is not None
        return found


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(drift, "MIN_AGE_SECONDS", 0.0)
    monkeypatch.setattr(fingerprint, "image_fingerprint", lambda: None)  # this one is in no image
    for name in ("LD_PRELOAD", "OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "PYTHONPATH"):
        monkeypatch.delenv(name, raising=False)
    bench = Bench(tmp_path)
    time.sleep(0.02)  # a file system's clock ticks every few milliseconds
    return bench


def test_one_byte_is_noticed_though_size_and_time_are_as_before(bench: Bench) -> None:
    before = bench.examine()
    path = bench.site / "numpy/core/x.so"
    status = path.stat()
    path.write_text("two = 3\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = bench.examine()
    (line,) = receipt.diff({"fingerprint": before}, {"fingerprint": after}, exclude=["fingerprint.drift"])
    assert line.startswith("fingerprint.wheels: ")
    assert any("numpy/core/x.so is not what RECORD says" in str(each) for each in after["drift"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "content"),
    [("evil.pth", "import sys\n"), ("sitecustomize.py", "x = 1\n"), ("samebench.pth", "import x\n")],
)
def test_a_file_that_python_runs_at_its_start_is_noticed(bench: Bench, name: str, content: str) -> None:
    before = bench.examine()
    (bench.site / name).write_text(content)
    after = bench.examine()
    assert after["loose"] != before["loose"]
    assert any(name in str(each) for each in after["drift"])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "value"),
    [("LD_PRELOAD", "/x.so"), ("LD_AUDIT", "/x.so"), ("OMP_NUM_THREADS", "3"), ("PYTHONPATH", "/elsewhere")],
)
def test_a_variable_that_changes_results_is_noticed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    before = bench.examine()
    monkeypatch.setenv(name, value)
    after = bench.examine()
    assert receipt.diff({"fingerprint": before}, {"fingerprint": after}, exclude=["fingerprint.drift"])
    assert any(f"variable {name}: " in str(each) for each in after["drift"])  # type: ignore[attr-defined]


def test_an_older_wheel_is_noticed(bench: Bench) -> None:
    (bench.root / "requirements.lock").write_text("numpy==2.2.0 \\\n    --hash=sha256:00\n")
    assert any("wheel numpy: 2.1.0, expected 2.2.0" in str(each) for each in bench.examine()["drift"])  # type: ignore[attr-defined]


def test_nothing_is_read_twice_and_damage_of_what_is_remembered_does_no_harm(bench: Bench) -> None:
    before = bench.examine()
    (path,) = (bench.root / ".samebench").glob("installed-*.json")
    for content in ("", "[]", "{", '{"state": 7}', path.read_text().replace('"state": "', '"state": "x')):
        path.write_text(content)
        assert bench.examine() == before
    (bench.site / "numpy/__init__.py").chmod(0o600)  # another ctime: looked at again
    assert bench.examine() == before


def test_a_receipt_without_a_fingerprint_is_compared_without_it() -> None:
    assert not receipt.diff({"fingerprint": None}, {"fingerprint": {"wheels": "a"}})
    assert not receipt.diff({}, {"fingerprint": {"wheels": "a"}})


def test_a_training_says_what_drifted_and_its_receipt_has_it(tmp_path: Path) -> None:
    quiet = {"OPENBLAS_CORETYPE": None, "OPENBLAS_L2_SIZE": None, "OMP_NUM_THREADS": None}
    told = call(*TRAIN, at=tmp_path, changes={**quiet, "OMP_NUM_THREADS": "3"})
    assert told.returncode == 0
    assert "drift: variable OMP_NUM_THREADS: nothing expected, 3 found; make doctor says what mends it\n" in told.stderr
    silent = call(*TRAIN, at=tmp_path, changes=quiet)
    assert "drift: variable OMP_NUM_THREADS" not in silent.stderr
    receipts = [receipt.read(path) for path in sorted(tmp_path.glob("runs/*/receipt.json"))]
    for path, each in zip(sorted(tmp_path.glob("runs/*/receipt.json")), receipts, strict=True):
        receipt.check(each, path)
    assert any("fingerprint.variables.OMP_NUM_THREADS" in line for line in receipt.diff(*receipts))
