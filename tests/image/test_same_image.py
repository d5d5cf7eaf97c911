"""The same checkout, base and builder give the same image, to the bit."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import docker
import pytest

from tests import soak
from tests.apparel.serve.conftest import artifact, folder, images, run
from tests.samebench.checkout import ROOT, copy_checkout
from tests.samebench.checkout import run as call
from tests.samebench.server import started

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

LONG_AGO = 500_000_000  # seconds after 1970; when the files of a checkout were written


def otherwise(checkout: Path) -> list[str]:
    """What runs a command with another umask, time zone and language, in a checkout of other times and modes."""
    for path in [checkout, *checkout.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
        if path.is_file():
            path.chmod(0o600)
    return ["env", "TZ=Asia/Tokyo", "LC_ALL=C", "sh", "-c", 'umask 077; exec "$@"', "sh"]


def served(checkout: Path, *before: str) -> str:
    """The digest of the server's image, which `make serve` has made twice from nothing."""
    with started(*before, "make", "serve", "RUNTIME=docker", "CHECK=1", at=checkout, HOME="/nonexistent") as server:
        (digest,) = re.findall(r"made twice from nothing: (sha256:\w{64}) both times", server.said)
        return str(digest)


def test_the_servers_image_is_the_same_made_otherwise(image: str, folder: Path, tmp_path: Path) -> None:
    digests = []
    for place in ("here", "elsewhere/and deeper"):
        checkout = copy_checkout(tmp_path / place)
        shutil.copytree(folder.parent, checkout / "runs" / folder.parent.name)
        digests.append(served(checkout, *([] if place == "here" else otherwise(checkout))))
    assert digests[0] == digests[1]


def test_what_differs_between_two_builds_is_named(engine: docker.DockerClient, image: str, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    (checkout / "docker/cpu.Dockerfile").write_text(
        f"FROM {image}\nUSER root\nRUN cat /proc/sys/kernel/random/uuid >/opt/number\nUSER bench\n"
    )
    done = call(["make", "build", "RUNTIME=docker", "CHECK=1"], cwd=checkout)
    assert "not the same: sha256:" in done.stderr
    assert re.search(r"\n  opt/number: content \w{12}, then \w{12}\n", done.stderr)
    assert "made twice" not in done.stderr
    assert done.returncode
    (name,) = set(re.findall(r"building (samebench:cpu-\w{12}):", done.stderr))
    engine.images.remove(name)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_cpu_image_is_the_same_however_often_and_wherever_it_is_made(image: str, tmp_path: Path) -> None:
    before = subprocess.check_output(["docker", "image", "inspect", "--format", "{{.Id}}", image], text=True).strip()
    checkout = copy_checkout(tmp_path / "elsewhere/and deeper")
    done = call([*otherwise(checkout), "make", "build", "RUNTIME=docker", "CHECK=1"], cwd=checkout, timeout=1700)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[2] == before
    assert ROOT not in checkout.parents
    soak.record(
        "the_cpu_image_is_the_same_however_often_and_wherever_it_is_made",
        f"{before[:19]}… three times: as it was, and twice from nothing with another path, umask, time zone and times",
    )
