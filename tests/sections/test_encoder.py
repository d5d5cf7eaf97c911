"""A transformer encoder of the bench's layers trains to the same weights, whoever computes them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samebench import project
from samebench.environment import determinism
from tests import soak
from tests.commands import environment, lacking
from tests.samebench.checkout import ROOT

from . import encoder

VARIABLES = {**determinism.CPU_LEVEL, "PROJECT": "sections"}
MODELS = ["Haswell", "Icelake-Server", "EPYC"]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Those of one thread."""
    return trained(tmp_path_factory.mktemp("one"), threads=1)


def trained(runs: Path, *, threads: int) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(project, "name", lambda: "sections")
        patch.setattr(project, "task", encoder.EncoderTask)
        made = encoder.run(runs, threads)
    assert made is not None
    assert made.receipt["same_bits"] == "any x86-64"
    return str(made.receipt["weights_sha256"])


def started(*words: str, at: Path) -> str:
    variables = {**environment(VARIABLES), "PYTHONWARNINGS": "default", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run([*words, str(at)], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    promise, _, digest = done.stdout.splitlines()[-1].rpartition(" ")
    assert promise == "any x86-64"
    return digest


@pytest.mark.parametrize("threads", [2, 4])
def test_any_number_of_threads_gives_the_same_weights(threads: int, weights: str, tmp_path: Path) -> None:
    assert trained(tmp_path, threads=threads) == weights


def test_two_processes_give_the_weights_of_one(weights: str, tmp_path: Path) -> None:
    assert started(sys.executable, *TORCHRUN, "tests.sections.encoder", at=tmp_path) == weights


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", MODELS)
def test_another_cpu_gives_the_same_weights(model: str, weights: str, tmp_path: Path) -> None:
    emulator = shutil.which("qemu-x86_64-static") or lacking("no qemu-x86_64-static here to be another CPU")
    words = (emulator, "-cpu", model, "-0", sys.executable, str(Path(sys.executable).resolve()))
    assert started(*words, "-m", "tests.sections.encoder", at=tmp_path) == weights
    soak.record(f"an encoder has the same weights on {model}", "equal")
