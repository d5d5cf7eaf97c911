"""Training on a GPU: `make test GPU=1`, or these alone with ARGS="-m gpu". Never run yet: nobody here had a GPU."""

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from samebench.runs import receipt
from tests.commands import call, start

pytestmark = pytest.mark.gpu

GPU = Mapping[str, str | None]
TRAIN = ("-m", "samebench.training", "--data", "synthetic")
# A step after an epoch's first that waits for the GPU is an error.
HURRIED = """
import sys, warnings, torch
from samebench.training.__main__ import main
warnings.filterwarnings("ignore", "Synchronization debug mode")  # that it is a prototype
from samebench.training.loop import Training
learn = Training.step
def step(training, batch):
    torch.cuda.set_sync_debug_mode("error" if training.losses else "default")
    try:
        return learn(training, batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
Training.step = step
main(sys.argv[1:])
"""
STREAMED = """
import sys
from samebench.training import device_data
from samebench.training.__main__ import main
device_data.MEMORY_SHARE = 0.0
main(sys.argv[1:])
"""
# What a network gives, its gradients and its statistics after two batches, as a graph and as operations.
GRAPHED = """
import copy, torch
from samebench.environment import determinism
determinism.pin(fast=True)
from samebench.training import cuda_graph
from tiny import networks
in_bf16 = torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
for name in networks.NETWORKS:
    torch.manual_seed(0)
    plain = networks.NETWORKS[name](1, 28, 10).to("cuda").train()
    recorded = copy.deepcopy(plain)
    cuda_graph.capture(recorded, (torch.rand(64, 1, 28, 28, device="cuda"),), in_bf16)
    for _ in range(2):
        images, told = torch.rand(64, 1, 28, 28, device="cuda"), []
        for network in (plain, recorded):
            with in_bf16:
                logits = network(images)
            gradients = torch.autograd.grad(logits.float().square().mean(), list(network.parameters()))
            told.append([logits, *gradients, *network.buffers()])
        torch.testing.assert_close(*told, rtol=0.02, atol=0.002, check_dtype=False)
"""


def trained(at: Path, gpu: GPU, *words: str) -> dict[str, Any]:
    """The receipt of the training in `at`."""
    at.mkdir(exist_ok=True)
    done = call(*TRAIN, *words, at=at, changes=gpu)
    assert done.returncode == 0, done.stderr
    (path,) = at.glob("runs/*/receipt.json")
    told = receipt.read(path)
    receipt.check(told, path)
    assert (told["device"], told["state"]) == ("cuda", "done")
    return told


@pytest.mark.parametrize("network", ["linear", "conv", "residual"])
def test_the_same_training_twice_gives_the_same_weights(network: str, gpu: GPU, tmp_path: Path) -> None:
    runs = [trained(tmp_path / name, gpu, "--network", network, "--epochs", "2") for name in "ab"]
    assert runs[0]["weights_sha256"] == runs[1]["weights_sha256"]


def test_a_set_that_is_fetched_ahead_gives_the_same_weights(gpu: GPU, tmp_path: Path) -> None:
    resident = trained(tmp_path / "resident", gpu, "--epochs", "2")
    done = call("-c", STREAMED, "--data", "synthetic", "--epochs", "2", at=tmp_path, changes=gpu)
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/*/receipt.json")
    assert json.loads(path.read_text())["weights_sha256"] == resident["weights_sha256"]


def test_a_killed_and_resumed_training_gives_the_same_weights(gpu: GPU, tmp_path: Path) -> None:
    words = ("--epochs", "20", "--checkpoint-seconds", "0")
    process = start(*TRAIN, *words, at=tmp_path, changes=gpu)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    resumed = trained(tmp_path, gpu, "--resume", "latest")
    assert resumed["resumed"]
    assert resumed["weights_sha256"] == trained(tmp_path / "undisturbed", gpu, *words)["weights_sha256"]


def test_a_run_is_reproduced_evaluated_and_exported(gpu: GPU, tmp_path: Path) -> None:
    trained(tmp_path, gpu, "--batch-size", "32")
    for words in (
        ("samebench.training.evaluate", "--data", "synthetic"),
        (
            "samebench.serving.export",
            "--data",
            "synthetic",
            "--min-validation-accuracy",
            "0",
            "--max-latency-ms-p99",
            "1000",
        ),
        ("samebench.training.reproduce",),
    ):
        done = call("-m", *words, at=tmp_path, changes=gpu)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_fast_training_learns_in_bf16_where_the_gpu_has_it(gpu: GPU, tmp_path: Path) -> None:
    told = trained(tmp_path, gpu, "--fast", "--batch-size", "32")
    assert told["precision"] == ("bf16" if float(told["gpu"]["compute_capability"]) >= 8 else "float32")
    assert told["metrics"]["test"]["accuracy"] > 0.9


def test_a_network_gives_the_same_as_a_graph(gpu: GPU, tmp_path: Path) -> None:
    done = call("-c", GRAPHED, at=tmp_path, changes=gpu)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [(), ("--fast",)])
def test_no_step_waits_for_the_one_before(words: tuple[str, ...], gpu: GPU, tmp_path: Path) -> None:
    done = call("-c", HURRIED, "--data", "synthetic", "--batch-size", "32", *words, at=tmp_path, changes=gpu)
    assert done.returncode == 0, done.stderr


def test_the_receipt_tells_what_nvidia_smi_tells(gpu: GPU, tmp_path: Path) -> None:
    if not shutil.which("nvidia-smi"):
        pytest.skip("no nvidia-smi here")
    query = ["nvidia-smi", "--query-gpu=name,driver_version,compute_cap", "--format=csv,noheader"]
    listed = subprocess.run(query, check=True, capture_output=True, text=True).stdout.splitlines()
    told = trained(tmp_path, gpu, "--epochs", "1")["gpu"]
    model = told["model"].partition(" MIG ")[0]  # nvidia-smi knows no slices there
    assert f"{model}, {told['driver']}, {told['compute_capability']}" in listed
    assert told["sm_count"] > 0
    assert told["cudnn"] > "9"


def test_without_it_the_cpu_is_taken(gpu: GPU, tmp_path: Path) -> None:
    done = call(*TRAIN, "--epochs", "1", at=tmp_path, changes={**gpu, "GPU": None})
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/*/receipt.json")
    assert json.loads(path.read_text())["device"] == "cpu"
