"""`make ship` where there is an engine, and what a partner does with it."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import numpy as np
import pytest
from numpy.typing import NDArray

from samebench import project
from samebench.serving.artifact import Artifact
from tests import soak
from tests.commands import lacking
from tests.samebench import bundles
from tests.samebench import checkout as checkouts
from tests.serving.conftest import artifact, encoded, folder, images, probabilities, run

from .conftest import as_user, copy_for_all, give
from .test_serve import base_for_both, docker_says

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

VERSION = f"0.0.{os.getpid()}"  # so that nobody's image is taken for ours
FILES = "README.md SHA256SUMS SHA256SUMS.sig card.md image.tar receipt.json sbom.cdx.json verify.sh"
HARDENED = ["--network", "none", "--read-only", "--cap-drop", "ALL"]  # as verify.sh says

# Asks the server in its own container, which has no network but loopback.
ASK = """
import sys, urllib.request
url, body = "http://127.0.0.1:8000" + sys.argv[1], sys.stdin.buffer.read() or None
asked = urllib.request.Request(url, body, {"content-type": "image/png"})
print(urllib.request.urlopen(asked, timeout=30).read().decode())
"""


def tag() -> str:
    return f"{project.name()}-serve:{VERSION}"


@dataclass
class Sender:
    """Somebody's checkout, and the folder of their key."""

    checkout: Path
    keys: Path

    def ship(self, *given: str, **variables: str) -> subprocess.CompletedProcess[str]:
        words = [*as_user(1234), "make", "ship", "DATA=synthetic", "RUNTIME=docker", f"KEY={self.keys}/samebench.key"]
        words += given
        return checkouts.run(words, cwd=self.checkout, timeout=1100, variables={"HOME": "/nonexistent", **variables})


@dataclass
class Shipped:
    """A bundle, its public key, and what was said when it was made."""

    bundle: Path
    public: Path
    said: str

    def verify(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return bundles.verify(self.public, self.bundle, variables=variables)


@pytest.fixture(scope="module")
def sender(folder: Path, image: str, tmp_path_factory: pytest.TempPathFactory) -> Sender:
    home = tmp_path_factory.mktemp("ship")
    made = copy_for_all(home)
    shutil.copytree(folder.parent, made / "runs" / folder.parent.name)
    settings = made / "pyproject.toml"
    settings.write_text(re.sub('^version = ".*"', f'version = "{VERSION}"', settings.read_text(), flags=re.MULTILINE))
    (home / "keys").mkdir()
    for each in (made, home / "keys"):
        give(each, uid=1234, gid=1234)
    return Sender(made, home / "keys")


@pytest.fixture(scope="module")
def shipped(sender: Sender) -> Shipped:
    done = sender.ship()
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = sender.checkout / done.stdout.splitlines()[-1].split(":")[0]
    return Shipped(bundle, sender.keys / "samebench.pub", done.stderr)


@pytest.fixture
def loaded(shipped: Shipped) -> Iterator[str]:
    """The image's name, once verify.sh has loaded it."""
    done = shipped.verify(RUNTIME="docker")
    assert done.returncode == 0, done.stderr
    assert "docker has loaded it" in done.stdout
    yield tag()
    docker_says("image", "rm", tag())


def contents(bundle: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in bundle.iterdir()}


def there() -> list[str]:
    """The images of our name."""
    return docker_says("image", "ls", "--quiet", tag())


def test_the_bundle_has_what_a_partner_needs_and_the_sender_owns_it(shipped: Shipped) -> None:
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
    assert shipped.bundle.name == f"{project.name()}-{VERSION}-{architecture}"
    assert " ".join(sorted(contents(shipped.bundle))) == FILES
    assert checkouts.run(["ls", "-A", "."], cwd=shipped.bundle.parent).stdout.split() == [shipped.bundle.name]
    assert {path.stat().st_uid for path in [shipped.bundle, *shipped.bundle.iterdir()]} == {1234}
    assert len((shipped.bundle / "README.md").read_text().splitlines()) < 60
    assert "fingerprint sha256:" in shipped.said


def test_the_card_and_the_receipt_are_those_of_the_run(shipped: Shipped, folder: Path) -> None:
    assert (shipped.bundle / "card.md").read_bytes() == (folder / "card.md").read_bytes()
    assert (shipped.bundle / "receipt.json").read_bytes() == (folder.parent / "receipt.json").read_bytes()


def test_two_ships_are_the_same_bytes(sender: Sender, shipped: Shipped) -> None:
    before = contents(shipped.bundle)
    assert sender.ship().returncode == 0
    assert contents(shipped.bundle) == before, "RSA's signature included"


def test_the_private_key_is_its_owners_and_nowhere_else(sender: Sender, shipped: Shipped, loaded: str) -> None:
    private = sender.keys / "samebench.key"
    assert (private.stat().st_mode & 0o777, private.stat().st_uid) == (0o600, 1234)
    line = private.read_text().splitlines()[3]
    assert checkouts.run(["grep", "-rlF", line, "."], cwd=sender.checkout).stdout == ""
    look = ["run", "--rm", "--user", "0:0", "--entrypoint", "grep", loaded, "-rlF", "--exclude-dir=proc"]
    assert docker_says(*look, "answers right", "/") != [], "it does find what is there"
    assert docker_says(*look, line, "/") == []
    assert line not in "".join(docker_says("history", "--no-trunc", loaded))


def test_what_was_loaded_answers_right_without_a_network(
    loaded: str, images: NDArray[np.uint8], artifact: Artifact
) -> None:
    words = ["run", "--detach", "--rm", *HARDENED, "--env", "SERVE=without-a-key", loaded]
    (container,) = docker_says(*words)
    try:
        asked = ["docker", "exec", "--interactive", container, "python", "-c", ASK]
        while "ready" not in subprocess.run([*asked, "/health"], capture_output=True, text=True, input="").stdout:
            time.sleep(0.2)
        for image, expected in zip(images[:5], probabilities(artifact, images[:5]), strict=True):
            done = subprocess.run([*asked, "/predict"], capture_output=True, input=encoded(image))
            answer = json.loads(done.stdout)
            assert answer["category"] == artifact.spec["labels"][expected.argmax()]
            assert answer["confidence"] == pytest.approx(expected.max(), abs=1e-5)
    finally:
        docker_says("kill", container)


def test_the_image_checks_itself(loaded: str, artifact: Artifact, tmp_path: Path) -> None:
    built, said = docker_says("run", "--rm", *HARDENED, loaded, "verify")
    assert built.startswith("/opt/venv: as it was built, fingerprint ")
    assert said.endswith(f"sha256 {artifact.sha256}")
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"?")
    damaged.chmod(0o644)
    mount = f"type=bind,source={damaged},target=/srv/artifact/model.onnx"
    done = checkouts.run(["docker", "run", "--rm", *HARDENED, "--mount", mount, loaded, "verify"], cwd=tmp_path)
    assert (done.returncode, "damaged, expected sha256" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        ("echo >>/opt/venv/lib/python3.11/site-packages/starlette/routing.py", "wheel starlette: starlette/routing.py"),
        ("touch /opt/venv/lib/python3.11/site-packages/more.py", "file of no wheel more.py"),
        ("sed -i 's/^Version: .*/Version: 1/' /var/lib/dpkg/status", "os package base-files:"),
        ("export PYTHONHASHSEED=1", "variable PYTHONHASHSEED: nothing at its build, 1 now"),
    ],
)
def test_the_image_names_what_was_changed_since_it_was_built(loaded: str, harm: str, named: str) -> None:
    words = ["--rm", "--network", "none", "--user", "0:0", "--entrypoint", "sh", loaded, "-c"]
    script = f"{harm}; exec python -m samebench.serving verify"
    done = checkouts.run(["docker", "run", *words, script], cwd=checkouts.ROOT)
    assert f"not as it was built: {named}" in done.stdout
    assert done.returncode == 1


def listed(bundle: Path, kind: str) -> set[tuple[str, str]]:
    """Names and versions in the bundle's list of contents."""
    parts: list[dict[str, Any]] = json.loads((bundle / "sbom.cdx.json").read_text())["components"]
    return {(each["name"], each["version"]) for each in parts if each.get("purl", "").startswith(f"pkg:{kind}/")}


def test_the_list_of_contents_is_what_is_inside_both_ways(shipped: Shipped, loaded: str) -> None:
    def inside(line: str) -> set[tuple[str, str]]:
        said = docker_says("run", "--rm", *HARDENED, "--user", "0:0", "--entrypoint", "sh", loaded, "-c", line)
        return {(name, version) for name, version in (each.split() for each in said)}

    # Not as inventory.py asks: dpkg's own file, and the wheels' own files wherever they are.
    packages = inside("awk '/^Package:/ { name = $2 } /^Version:/ { print name, $2 }' /var/lib/dpkg/status")
    every = r"find / -path /proc -prune -o \( -path '*.dist-info/METADATA' -o -name PKG-INFO \) -print"
    awk = "awk '/^Name:/ { name = $2 } /^Version:/ { print name, $2; exit }'"
    wheels = inside(f'{every} | while read -r path; do {awk} "$path"; done')
    assert len(packages) > 50
    assert len(wheels) > 10
    assert listed(shipped.bundle, "deb") == packages
    assert listed(shipped.bundle, "pypi") == wheels


HARM: dict[str, Callable[[Path], object]] = {
    "a byte": lambda bundle: flip(bundle / "image.tar", 1_000_000),
    "its end": lambda bundle: os.truncate(bundle / "image.tar", (bundle / "image.tar").stat().st_size - 512),
    "no signature": lambda bundle: (bundle / "SHA256SUMS.sig").unlink(),
    "a file more": lambda bundle: (bundle / "more").touch(),
}


def flip(path: Path, place: int) -> None:
    """Turn a bit of the byte at `place`; a second time turns it back."""
    with path.open("r+b") as file:
        file.seek(place)
        (before,) = file.read(1)
        file.seek(place)
        file.write(bytes([before ^ 1]))


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_one_is_not_loaded(shipped: Shipped, tmp_path: Path, harm: str) -> None:
    harmed = Shipped(Path(shutil.copytree(shipped.bundle, tmp_path / "bundle")), shipped.public, "")
    HARM[harm](harmed.bundle)
    before = there()
    done = harmed.verify(RUNTIME="docker")
    assert (done.returncode, done.stdout, done.stderr[:8]) == (1, "", "refused:")
    assert there() == before == []


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_byte_flipped_anywhere_in_a_real_bundle(shipped: Shipped, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(shipped.bundle, tmp_path / "bundle"))
    harmed, chance = Shipped(bundle, shipped.public, ""), np.random.default_rng(0)
    paths = sorted(bundle.iterdir())
    for each in range(1000):
        # Every second time in the image, which is nearly all of it; else in one of the others.
        path = bundle / "image.tar" if each % 2 else paths[each // 2 % len(paths)]
        place = int(chance.integers(path.stat().st_size))
        flip(path, place)
        done = harmed.verify(RUNTIME="docker")
        assert (done.returncode, done.stdout, done.stderr[:8]) == (1, "", "refused:"), (path.name, place)
        flip(path, place)
    assert there() == []
    assert harmed.verify(LOAD="0").returncode == 0
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    soak.record("a_byte_flipped_anywhere_in_a_real_bundle", f"1000 of 1000 refused, {megabytes:.0f} MB, 0 images")


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_untouched_bundle_is_loaded_each_time(shipped: Shipped) -> None:
    took = []
    for _ in range(20):
        assert there() == []
        begun = time.monotonic()
        assert shipped.verify(RUNTIME="docker").returncode == 0
        took.append(time.monotonic() - begun)
        assert there() != []
        docker_says("image", "rm", tag())
    told = f"20 of 20, median {sorted(took)[10]:.1f} s, {soak.busy()}"
    soak.record("the_untouched_bundle_is_loaded_each_time", told)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_podman_loads_and_runs_it_too(shipped: Shipped) -> None:
    if not shutil.which("podman") or checkouts.run(["podman", "info"], cwd=checkouts.ROOT).returncode:
        lacking("no podman answers here")
    done = shipped.verify(RUNTIME="podman")
    assert (done.returncode, "podman has loaded it" in done.stdout) == (0, True)
    try:
        ran = checkouts.run(["podman", "run", "--rm", *HARDENED, tag(), "verify"], cwd=checkouts.ROOT)
        assert (ran.returncode, "answers right" in ran.stdout) == (0, True)
    finally:
        checkouts.run(["podman", "image", "rm", tag()], cwd=checkouts.ROOT)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_bundle_for_arm64_is_made_and_answers(sender: Sender, engine: docker.DockerClient) -> None:
    if "linux/arm64" not in checkouts.run(["docker", "buildx", "ls"], cwd=checkouts.ROOT).stdout:
        pytest.skip("the engine cannot run arm64 here: register qemu-aarch64 10.0 or later with binfmt_misc")
    done = sender.ship("PLATFORM=linux/arm64", BASE_IMAGE=base_for_both())
    assert done.returncode == 0, done.stderr[-2000:]
    assert "answers right" in done.stderr
    shipped = Shipped(sender.checkout / f"dist/{project.name()}-{VERSION}-arm64", sender.keys / "samebench.pub", "")
    assert "?arch=arm64&" in (shipped.bundle / "sbom.cdx.json").read_text()
    try:
        assert shipped.verify(RUNTIME="docker").returncode == 0
        words = ["run", "--rm", "--platform", "linux/arm64", *HARDENED, tag(), "verify"]
        assert "answers right" in docker_says(*words)[-1]
    finally:
        docker_says("image", "rm", tag())
    soak.record("a_bundle_for_arm64_is_made_and_answers", "made, signed, loaded, and its verify passes, emulated")
