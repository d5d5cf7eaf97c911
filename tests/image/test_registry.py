"""`make push` and a teammate's first command, with a real registry on loopback."""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.commands import lacking
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.fakes import SCRIPT
from tests.samebench.server import free_port

SETTINGS = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/store}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """The address of an empty registry."""
    if not shutil.which("docker-registry"):
        lacking("no docker-registry on this machine")
    port = free_port()
    (tmp_path / "registry.yml").write_text(SETTINGS.format(folder=tmp_path, port=port))
    with (tmp_path / "registry.log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"], stdout=log, stderr=log)
        try:
            wait_for_answer(f"http://127.0.0.1:{port}/v2/")
            yield f"127.0.0.1:{port}/team/bench"
        finally:
            process.terminate()
            process.wait(10)


def wait_for_answer(url: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310 - always our own http address
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"{url} does not answer")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_what_one_pushes_a_teammate_pulls_by_its_digest(
    image: str, engine: docker.DockerClient, registry: str, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "work")
    with (checkout / "docker/profile.sh").open("a") as file:
        file.write("# another image than that of the other tests\n")
    variables = {"RUNTIME": "docker"}
    name = run([*SCRIPT, "--name"], cwd=checkout, variables=variables).stdout.strip()
    assert name != image
    latest = str(engine.images.get("samebench:cpu").id)
    engine.images.get(image).tag(name)  # what it holds is the same; the registry sees a name
    try:
        pushed = run(["make", "push", f"TO={registry}"], cwd=checkout, variables=variables, timeout=600)
        assert pushed.returncode == 0, pushed.stderr
        digest = str(engine.images.get(image).id)
        assert pushed.stdout.startswith(f"{registry}@{digest}: pushed; ")
        tag = name.partition(":")[2]
        assert (checkout / "docker/images.sha256").read_text() == f"{digest.partition(':')[2]}  {tag}\n"
        for each in (name, f"{registry}:{tag}"):
            engine.images.remove(each)
        pyproject = (checkout / "pyproject.toml").read_text()
        heading = "[tool.samebench.image]\n"
        (checkout / "pyproject.toml").write_text(pyproject.replace(heading, f'{heading}registry = "{registry}"\n'))
        first = run([*SCRIPT, "python", "-c", "print(6 * 7)"], cwd=checkout, variables=variables, timeout=600)
        assert (first.returncode, first.stdout) == (0, "42\n"), first.stderr
        assert "building" not in first.stderr
        assert f"samebench: pulling {registry}@{digest}\n" in first.stderr
        assert engine.images.get(name).id == digest
    finally:
        engine.images.get(latest).tag("samebench:cpu")
        for each in (name, f"{registry}:{name.partition(':')[2]}"):
            run(["docker", "rmi", "--force", each], cwd=tmp_path)


@pytest.mark.soak
def test_podman_pulls_by_the_digest_that_it_noted_at_the_push(registry: str, tmp_path: Path) -> None:
    if not shutil.which("podman"):
        lacking("no podman on this machine")
    checkout = copy_checkout(tmp_path / "work")
    insecure = tmp_path / "registries.conf"
    insecure.write_text(f'[[registry]]\nlocation = "{registry.partition("/")[0]}"\ninsecure = true\n')
    variables = {"RUNTIME": "podman", "CONTAINERS_REGISTRIES_CONF": str(insecure)}
    name = run([*SCRIPT, "--name"], cwd=checkout, variables=variables).stdout.strip()
    base = os.environ["BASE_IMAGE"]  # a small image for the large one: the registry sees a name
    latest = podman("image", "inspect", "--format", "{{.Id}}", "samebench:cpu")
    kept = podman("image", "inspect", "--format", "{{.Id}}", name)
    podman("tag", base, name)
    try:
        pushed = run(["make", "push", f"TO={registry}"], cwd=checkout, variables=variables)
        assert pushed.returncode == 0, pushed.stderr
        digest, tag = (checkout / "docker/images.sha256").read_text().split()
        assert (pushed.stdout.partition(": ")[0], tag) == (f"{registry}@sha256:{digest}", name.partition(":")[2])
        podman("rmi", name, f"{registry}:{tag}")  # the names
        pyproject = (checkout / "pyproject.toml").read_text()
        heading = "[tool.samebench.image]\n"
        (checkout / "pyproject.toml").write_text(pyproject.replace(heading, f'{heading}registry = "{registry}"\n'))
        first = run([*SCRIPT, "echo", "42"], cwd=checkout, variables=variables)
        assert (first.returncode, first.stdout) == (0, "42\n"), first.stderr
        assert f"samebench: pulling {registry}@sha256:{digest}\n" in first.stderr
        assert "building" not in first.stderr
        podman("rmi", f"{registry}@sha256:{digest}")
    finally:
        for identity, each in ((latest, "samebench:cpu"), (kept, name)):
            podman(*(["tag", identity, each] if identity else ["rmi", each]))


def podman(*words: str) -> str:
    """What it says, if it does."""
    return subprocess.run(["podman", *words], capture_output=True, text=True).stdout.strip()
