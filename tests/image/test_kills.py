"""Containers killed while they train: the next start resumes to the weights of a training left alone."""

import json
import random
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import APIError
from docker.models.containers import Container

from tests import soak
from tests.samebench.checkout import ROOT, copy_checkout, run

KILLS = 20
SETTINGS = "--data synthetic --epochs 10 --batch-size 100 --checkpoint-seconds 0"


def training(engine: docker.DockerClient, checkout: Path) -> Container | None:
    """The container that works on this checkout."""
    containers = engine.containers.list()
    return next((each for each in containers if str(checkout) in json.dumps(each.attrs["Mounts"])), None)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_killed_container_resumes_to_the_same_weights(
    engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "work")
    shutil.copy(ROOT / "README.md", checkout)
    settings = f"ARGS={SETTINGS}"
    alone = run(["make", "train", "RUNTIME=docker", settings], cwd=checkout)
    assert alone.returncode == 0, alone.stderr
    (first,) = (checkout / "runs").glob("*/receipt.json")
    expected = json.loads(first.read_text())
    chance = random.Random(0)
    killed = 0
    words = ["make", "train", "RUNTIME=docker", settings]
    while killed < KILLS:
        process = subprocess.Popen(words, cwd=checkout, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while not (container := training(engine, checkout)) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 6))
        with suppress(APIError):  # it was done before
            if container:
                container.kill()
                killed += 1
        process.communicate(timeout=100)
        newest = max((checkout / "runs").glob("*/receipt.json"))
        unfinished = newest != first and json.loads(newest.read_text())["state"] != "done"
        words = ["make", "train", "RUNTIME=docker", "RESUME=latest"] if unfinished else [*words[:3], settings]
    if words[-1] == "RESUME=latest":
        assert run(words, cwd=checkout).returncode == 0
    receipts = [json.loads(path.read_text()) for path in (checkout / "runs").glob("*/receipt.json")]
    assert {receipt["weights_sha256"] for receipt in receipts} == {expected["weights_sha256"]}
    assert [path for path in (checkout / "runs").rglob(".*") if path.name != ".lock"] == []
    soak.record("a_killed_container_resumes_to_the_same_weights", f"{killed} kills, {len(receipts)} runs, all equal")
