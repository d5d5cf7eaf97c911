"""The same checkout, base and builder give the same image, to the bit."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import docker
import pytest

from tests import soak
from tests.samebench.checkout import copy_checkout
from tests.samebench.checkout import run as call
from tests.samebench.server import started
from tests.serving.conftest import artifact, folder, images, run

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

LONG_AGO = 500_000_000  # seconds after 1970; when the files of a checkout were written


def otherwise(checkout: Path) -> list[str]:
    """What runs a command with another umask, time zone and language, in a checkout of other times and modes."""
    for path in [checkout, *checkout.rglob("*")]:
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
        if path.is_file():
            path.chmod(0o600)
    return ["env", "TZ=Asia/Tokyo", "LC_ALL=C", "sh", "-c", 'umask 077; exec "$@"', "sh"]


def digest(image: str) -> str:
    return subprocess.check_output(["docker", "image", "inspect", "--format", "{{.Id}}", image], text=True).strip()


def twice(said: str) -> str:
    """What make says is the digest of both images."""
    (found,) = re.findall(r"made twice from nothing: (sha256:\w{64}) both times, on .+, by docker ", said)
    return str(found)


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_the_servers_image_is_the_same_however_often_and_wherever_it_is_made(
    engine: docker.DockerClient, image: str, folder: Path, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "elsewhere/and deeper")
    shutil.copytree(folder.parent, checkout / "runs" / folder.parent.name)
    with started("make", "serve", "DATA=synthetic", "RUNTIME=docker", at=checkout) as server:
        (running,) = engine.containers.list(filters={"publish": str(server.port)})
        name = running.attrs["Config"]["Image"]
        before = digest(name)
    words = ["make", "serve", "DATA=synthetic", "RUNTIME=docker", "CHECK=1"]
    with started(*otherwise(checkout), *words, at=checkout) as server:
        assert twice(server.said) == before == digest(name)
    soak.record(
        "the_servers_image_is_the_same_however_often_and_wherever_it_is_made",
        f"{before[:19]}… three times: as it was, and twice from nothing with another umask, time zone and times",
    )


def test_two_builds_are_one_image_or_what_differs_is_named(
    engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    site = "/opt/venv/lib/python3*"  # without the wheels, as what differs is looked for in all files
    made = set()
    for line in ("echo 1", "cat /proc/sys/kernel/random/uuid"):
        (checkout / "docker/cpu.Dockerfile").write_text(
            f"FROM {image}\nARG SOURCE_DATE_EPOCH\nUSER root\n"
            f"RUN rm -r {site}/site-packages; {line} >/opt/number; "
            f'touch --date="@$SOURCE_DATE_EPOCH" /opt/number /opt {site}\nUSER bench\n'
        )
        done = call(["make", "build", "RUNTIME=docker", "CHECK=1"], cwd=checkout)
        made |= set(re.findall(r"building (samebench:cpu-\w{12}):", done.stderr))
        if line == "echo 1":
            assert done.returncode == 0, done.stderr[-2000:]
            assert twice(done.stderr) == done.stdout.split()[2]
    assert "not the same: sha256:" in done.stderr
    assert re.search(r"\n  opt/number: content \w{12}, then \w{12}\n", done.stderr)
    assert "made twice" not in done.stderr
    assert done.returncode
    for name in made:
        engine.images.remove(name)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_cpu_image_is_the_same_however_often_and_wherever_it_is_made(image: str, tmp_path: Path) -> None:
    before = digest(image)
    checkout = copy_checkout(tmp_path / "elsewhere/and deeper")
    done = call([*otherwise(checkout), "make", "build", "RUNTIME=docker", "CHECK=1"], cwd=checkout, timeout=1700)
    assert done.returncode == 0, done.stderr[-2000:]
    assert twice(done.stderr) == done.stdout.split()[2] == before
    soak.record(
        "the_cpu_image_is_the_same_however_often_and_wherever_it_is_made",
        f"{before[:19]}… three times: as it was, and twice from nothing with another path, umask, time zone and times",
    )


def test_a_teammates_image_is_known_by_digest_or_fingerprint_and_else_what_differs(
    engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    told = call(["make", "--silent", "fingerprint", "RUNTIME=docker"], cwd=checkout)
    (checkout / "theirs.json").write_text(told.stdout)
    (tmp_path / "outside.json").write_text(told.stdout)
    for expected in (digest(image), "theirs.json", str(tmp_path / "outside.json")):
        done = call(["make", "build", "RUNTIME=docker", f"EXPECT={expected}"], cwd=checkout)
        assert f"as expected: {digest(image)}" in done.stderr
        assert done.returncode == 0

    wrong = call(["make", "build", "RUNTIME=docker", f"EXPECT=sha256:{'0' * 64}"], cwd=checkout)
    assert f"not as expected: {digest(image)}, expected sha256:0000" in wrong.stderr
    assert wrong.returncode

    dockerfile = checkout / "docker/cpu.Dockerfile"
    dockerfile.write_text(f"FROM {image}\nUSER root\nRUN echo >/opt/more\nUSER bench\n")
    other = call(["make", "build", "RUNTIME=docker", "EXPECT=theirs.json"], cwd=checkout)
    assert "not as expected: sha256:" in other.stderr
    assert re.search(r"failure +input docker/cpu.Dockerfile: \w{12} there, \w{12} here\n", other.stderr)
    assert re.findall(r"failure.*", other.stderr) == re.findall(r"failure +input.*", other.stderr)
    assert other.returncode
    (name,) = set(re.findall(r"building (samebench:cpu-\w{12}):", other.stderr)) - {image}
    engine.images.remove(name)
