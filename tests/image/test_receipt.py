import json
from pathlib import Path

import docker

from tests.samebench.checkout import run

TRAIN = ["make", "train", "RUNTIME=docker", "ARGS=--data synthetic --epochs 1"]


def test_a_run_of_the_container_is_reproduced_beside_it_and_its_receipt_names_the_image(
    engine: docker.DockerClient, image: str, checkout: Path
) -> None:
    assert run(TRAIN, cwd=checkout).returncode == 0
    (receipt,) = checkout.glob("runs/*/receipt.json")
    environment = json.loads(receipt.read_text())["environment"]
    assert environment["runtime"] == "docker"
    assert environment["image"] == engine.images.get(image).id
    # The environment that runs this test stands in for the checkout's own.
    again = run(
        ["python", "-m", "samebench.training.reproduce"], cwd=checkout, variables={"PYTHONPATH": str(checkout / "src")}
    )
    assert again.returncode == 0, again.stdout + again.stderr
    lines = again.stdout.splitlines()
    assert "identical: weights" in "\n".join(lines)
    changed = [line.split(":")[0].strip() for line in lines if "changed without effect" in line]
    assert changed
