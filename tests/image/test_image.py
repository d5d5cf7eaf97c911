"""The CPU image, by a real engine: what is in it, what is not, and whose files it writes."""

import json
import os
import re
import sys
from importlib.metadata import version
from pathlib import Path

import docker

from samebench.environment.lock import parse
from tests.samebench.checkout import ROOT, run

from .conftest import InImage, as_user, give, owners, users

TRAIN = ["make", "train", "RUNTIME=docker", "ARGS=--data synthetic --epochs 1"]


def canonicalize(pin: str) -> str:
    """A pin with its name as PEP 503 compares it."""
    name, version = pin.split("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def test_rebuild_with_nothing_changed_runs_no_step(image: str) -> None:
    done = run(["make", "build", "RUNTIME=docker"], cwd=ROOT)
    steps = [line for line in done.stderr.splitlines() if "RUN " in line and line.startswith("#")]
    cached = done.stderr.count(" CACHED")
    assert steps
    assert cached >= len(steps)
    assert done.stdout.split()[1] == image


def test_changed_source_asks_for_no_build(image: str, checkout: Path) -> None:
    (checkout / "src/samebench/training/train.py").write_text("print('changed')\n")
    done = run(["make", "train", "RUNTIME=docker"], cwd=checkout)
    assert done.stdout == "changed\n"
    assert "building" not in done.stderr


def test_changed_lock_asks_for_another_image(image: str, checkout: Path) -> None:
    with (checkout / "docker/cpu.lock").open("a") as lock:
        lock.write("nonsense\n")
    done = run(["make", "train", "RUNTIME=docker"], cwd=checkout)
    assert done.returncode
    assert "building samebench:cpu-" in done.stderr
    assert image not in done.stderr
    assert "could not be built (see above)" in done.stderr


def test_tampered_lock_builds_and_tags_nothing(engine: docker.DockerClient, image: str, checkout: Path) -> None:
    lock = checkout / "docker/cpu.lock"
    lock.write_text(lock.read_text().replace("sha256:6", "sha256:7"))
    before = tags(engine)
    assert image in before
    done = run(["make", "build", "RUNTIME=docker"], cwd=checkout, timeout=600)
    assert done.returncode
    assert "docker/cpu.lock could not be installed" in done.stderr
    assert tags(engine) == before


def tags(engine: docker.DockerClient) -> set[str]:
    """The names of our CPU images; others may come and go meanwhile."""
    return {tag for one in engine.images.list() for tag in one.tags if tag.startswith("samebench:cpu")}


def test_image_keeps_nothing_of_how_it_was_built(engine: docker.DockerClient, image: str, in_image: InImage) -> None:
    kept = json.dumps([engine.images.get(image).attrs["Config"], engine.images.get(image).history()])
    variables = "BASE_IMAGE CA_CERT SSL_CERT_FILE WHEELHOUSE PIP_FIND_LINKS PIP_INDEX_URL http_proxy https_proxy"
    for value in {os.environ.get(name, "") for name in variables.split()} - {""}:
        assert value not in kept
    left = in_image("ls -d /build /wheelhouse /run/ca.pem /run/indexes /root/.cache 2>/dev/null || true", user="0")
    assert left == ""


def test_image_is_not_root_and_has_no_setuid_file(in_image: InImage) -> None:
    assert in_image("id -u") == "1000"
    assert in_image("find / -xdev -type f -perm /6000", user="0") == ""


def test_git_lfs_settings_stand_in_one_order(in_image: InImage) -> None:
    # Its package writes them in another one each time; then no two builds would be the same.
    names = in_image("git config --system --name-only --get-regexp '^filter[.]lfs[.]'").split()
    assert names == [f"filter.lfs.{name}" for name in ("clean", "process", "required", "smudge")]


def test_image_works_under_any_uid(in_image: InImage) -> None:
    assert (
        in_image("python -c 'import torch; print(torch.ones(2).sum().item())' && touch ~/x", user="4321:4321") == "2.0"
    )


def test_wheels_in_the_image_are_those_of_the_locks(in_image: InImage) -> None:
    program = "from importlib.metadata import distributions as d; print(*(x.name + '==' + x.version for x in d()))"
    installed = in_image(f'python -c "{program}"').split()
    text = (ROOT / "requirements.lock").read_text() + (ROOT / "docker/cpu.lock").read_text()
    locked = [pin for pin, _ in parse(text) if "===" not in pin and not pin.startswith("appnope")]  # macOS's
    assert {canonicalize(pin) for pin in installed} == {canonicalize(pin) for pin in locked}


def test_python_and_torch_are_the_same_in_the_image_and_beside_it(in_image: InImage) -> None:
    assert in_image("python -c 'import torch; print(torch.__version__)'") == version("torch")
    assert in_image("python -c 'import sys; print(sys.version_info[:2])'") == str(sys.version_info[:2])


@users
def test_files_written_through_the_container_belong_to_the_host_user(
    image: str, checkout: Path, uid: int, gid: int
) -> None:
    command = as_user(uid, gid)
    give(checkout, uid=uid, gid=gid)
    done = run([*command, *TRAIN], cwd=checkout, variables={"HOME": "/nonexistent"})
    assert done.returncode == 0, done.stderr
    (receipt,) = checkout.glob("runs/*/receipt.json")
    assert owners(checkout) == {(uid, gid)}
    assert json.loads(receipt.read_text())["state"] == "done"


def test_same_weights_in_the_container_and_in_the_local_runtime(image: str, checkout: Path) -> None:
    assert run(TRAIN, cwd=checkout).returncode == 0
    # The environment that runs this test stands in for the checkout's own.
    local = run(
        ["python", "-m", "samebench.training", "--data", "synthetic", "--epochs", "1"],
        cwd=checkout,
        variables={"PYTHONPATH": str(checkout / "src")},
    )
    assert local.returncode == 0, local.stderr
    hashes = [json.loads(path.read_text())["weights_sha256"] for path in checkout.glob("runs/*/receipt.json")]
    assert len(hashes) == 2
    assert len(set(hashes)) == 1
