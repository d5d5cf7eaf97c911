"""A wheelhouse in which somebody has put another wheel in the place of one: no image comes of it."""

from pathlib import Path

import docker
import pytest

from samebench.environment.lock import SHARED, parse
from tests.samebench import tampered
from tests.samebench.checkout import ROOT, copy_checkout, run
from tests.samebench.tampered import SONG, WAYS, write_wheel

CANARY = Path("/opt/canary")  # in the build


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose image has uv, one small wheel, and a torch of a dozen bytes."""
    path = copy_checkout(tmp_path / "my work")
    (path / "wheels").mkdir()
    ((pin, hashes),) = [each for each in parse((ROOT / SHARED).read_text()) if each[0].startswith("uv==")]
    uv = " ".join([pin, *(f"--hash={each}" for each in hashes)])
    (path / SHARED).write_text(f"{uv}\n" + write_wheel(path / "wheels", "shared", "1.0", "answer = 42\n"))
    (path / "docker/cpu.lock").write_text(write_wheel(path / "wheels", "torch", "1.0+cpu", "__version__ = '1.0+cpu'\n"))
    return path


def build(checkout: Path) -> tuple[int, str]:
    """Exit code and messages of `make build` with the wheels of the checkout."""
    done = run(["make", "build", "RUNTIME=docker", "WHEELHOUSE=wheels"], cwd=checkout)
    return done.returncode, done.stderr


def tags(engine: docker.DockerClient) -> set[str]:
    return {tag for one in engine.images.list() for tag in one.tags if tag.startswith("samebench:cpu-")}


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_no_image_comes_of_a_tampered_wheel_and_nothing_of_it_runs(
    engine: docker.DockerClient, image: str, checkout: Path
) -> None:
    before = tags(engine)
    original = {path: path.read_bytes() for path in [checkout / SHARED, *checkout.glob("wheels/*")]}
    for way, tamper in WAYS.items():
        tamper(checkout, CANARY)
        code, said = build(checkout)
        assert code, way
        assert "requirements.lock could not be installed" in said or "the locks contradict each other" in said, said
        assert SONG * 3 not in said, way
        assert tags(engine) == before, way
        for path in checkout.glob("wheels/*"):
            path.unlink()
        for path, content in original.items():
            path.write_bytes(content)


@pytest.mark.soak
def test_each_tampered_wheel_would_have_run(engine: docker.DockerClient, checkout: Path) -> None:
    before = tags(engine)
    tampered.other_content(checkout, CANARY)
    (checkout / SHARED).write_text(tampered.relocked(checkout))
    code, said = build(checkout)
    assert code == 0, said
    assert SONG * 3 in said
    for tag in tags(engine) - before:
        engine.images.remove(tag)
