"""Images that are made by a clock 400 days ahead have the same bits, but for the base, which brings that clock."""

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests import soak
from tests.commands import lacking
from tests.samebench.checkout import ROOT, copy_checkout
from tests.samebench.checkout import run as call
from tests.samebench.fakes import SCRIPT
from tests.samebench.server import started
from tests.serving.conftest import artifact, folder, images, run

from .test_same_image import otherwise

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")  # Debian's package libfaketime
AHEAD = "+400d"
FILES = {
    "etc/apt/apt.conf.d/clock": b'Acquire::Check-Valid-Until "false";\n',  # today's lists are valid for a week
    "etc/faketimerc": f"{AHEAD}\n".encode(),
    "etc/ld.so.preload": b"/usr/lib/clock.so\n",
}
# It shifts the times of files as well, and what measures how long something takes: not what a clock that is ahead does.
VARIABLES = ("NO_FAKE_STAT=1", "FAKETIME_DONT_FAKE_MONOTONIC=1")


@pytest.fixture(scope="module")
def base() -> str:
    """What the images stand on: the pinned base, or a stand-in."""
    (pinned,) = re.findall(
        r"^FROM \${BASE_IMAGE:-(.+)} AS base$", (ROOT / "docker/cpu.Dockerfile").read_text(), re.MULTILINE
    )
    return os.environ.get("BASE_IMAGE") or str(pinned)


@pytest.fixture
def later(engine: docker.DockerClient, base: str, tmp_path: Path) -> Iterator[str]:
    """A base in which every program sees the clock 400 days ahead, and nothing else is new."""
    if not CLOCK.is_file():
        lacking("libfaketime is not here")
    content = files_of(base, tmp_path)
    with tarfile.open(content, "a") as archive:
        for name, text in {**FILES, "usr/lib/clock.so": CLOCK.read_bytes()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    name = "samebench-base:later"
    words = [word for variable in VARIABLES for word in ("--change", f"ENV {variable}")]
    subprocess.run(["docker", "import", *words, content, name], check=True, capture_output=True)
    content.unlink()
    before = tags(engine)
    yield name
    for each in {name, *tags(engine)} - before:
        engine.images.remove(each)
    assert call(["make", "build", "RUNTIME=docker"], cwd=ROOT).returncode == 0  # the newest is ours again


def tags(engine: docker.DockerClient) -> set[str]:
    """The names of all images."""
    return {tag for each in engine.images.list() for tag in each.tags}


def files_of(image: str, folder: Path) -> Path:
    """A tar archive in `folder` of all that is in the image's one layer; a container's would have a few files more."""
    saved, content = folder / "saved.tar", folder / "content.tar"
    subprocess.run(["docker", "save", "--output", saved, image], check=True)
    with tarfile.open(saved) as archive:
        (layer,) = json.loads(_read(archive, "manifest.json"))[0]["Layers"]
        packed = _read(archive, layer)
    content.write_bytes(gzip.decompress(packed) if packed.startswith(b"\x1f\x8b") else packed)
    saved.unlink()
    return content


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    assert member
    return member.read()


def layers(image: str, base: str) -> list[str]:
    """The content of every layer above the base, by its digest."""
    found = [
        json.loads(subprocess.check_output(["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", each]))
        for each in (image, base)
    ]
    return list(found[0][len(found[1]) :])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_cpu_image_is_the_same_by_a_clock_that_is_400_days_ahead(
    engine: docker.DockerClient, image: str, base: str, later: str, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    done = call(["make", "build", "RUNTIME=docker"], cwd=checkout, variables={"BASE_IMAGE": later}, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    name = done.stdout.split()[1]
    assert int(engine.containers.run(name, ["date", "+%Y"], remove=True)) > 2026
    same = layers(image, base)
    assert layers(name, later) == same
    soak.record("the_cpu_image_is_the_same_by_a_clock_that_is_400_days_ahead", f"{len(same)} layers of {len(same)}")


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_the_servers_image_is_the_same_by_a_clock_that_is_400_days_ahead(
    engine: docker.DockerClient, image: str, base: str, later: str, folder: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    shutil.copytree(folder.parent, checkout / "runs" / folder.parent.name)
    # The workspace only checks the artifact: it need not be made by that clock, which takes minutes.
    workspace = call([*SCRIPT, "--name"], cwd=checkout, variables={"BASE_IMAGE": later})
    subprocess.run(["docker", "tag", image, workspace.stdout.strip()], check=True)
    names = {}
    words = ["make", "serve", "DATA=synthetic", "RUNTIME=docker"]
    for each, variables in (("now", {}), ("later", {"BASE_IMAGE": later})):
        before = otherwise(checkout) if each == "later" else []  # with another umask, time zone, times and modes, too
        with started(*before, *words, at=checkout, **variables) as server:
            (running,) = engine.containers.list(filters={"publish": str(server.port)})
            names[each] = running.attrs["Config"]["Image"]
    same = layers(names["now"], base)
    assert layers(names["later"], later) == same
    soak.record("the_servers_image_is_the_same_by_a_clock_that_is_400_days_ahead", f"{len(same)} layers of {len(same)}")
