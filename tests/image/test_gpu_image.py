"""The GPU image, built for real: what is in it, and that nothing else differs from the CPU image."""

import json
import re
import shutil
import time
from pathlib import Path

import docker
import pytest

from tests import soak
from tests.samebench.checkout import ROOT, run

ROOM = 20 << 30  # bytes for the image and what its build keeps
PACKAGES = (
    "from importlib import metadata; import json;"
    "print(json.dumps({each.name.lower().replace('_', '-'): each.version for each in metadata.distributions()}))"
)
# torch's own list of architectures is empty where there is no GPU; the flags it was built with are not.
BUILD = "import json, torch; print(json.dumps([torch.version.cuda, torch._C._cuda_getArchFlags().split()]))"


def locked(name: str) -> set[str]:
    """The packages of a lock."""
    return set(re.findall(r"^([a-z0-9.-]+)=", (ROOT / "docker" / f"{name}.lock").read_text(), re.MULTILINE))


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_gpu_image_has_cuda_and_differs_by_its_lock_alone(
    engine: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    if shutil.disk_usage(engine.info()["DockerRootDir"]).free < ROOM:
        pytest.skip(f"less than {ROOM >> 30} GiB free for the GPU image")
    begun = time.monotonic()
    done = run(["make", "build", "GPU=1", "ELSEWHERE=1", "RUNTIME=docker"], cwd=ROOT, timeout=1700)
    seconds = time.monotonic() - begun
    assert done.returncode == 0, done.stderr[-2000:]
    _, gpu, _, megabytes, *_ = done.stdout.split()

    def ask(which: str, program: str) -> str:
        said: bytes = engine.containers.run(which, ["python", "-c", program], remove=True)
        return said.decode()

    ours, theirs = (json.loads(ask(which, PACKAGES)) for which in (gpu, image))
    differing = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}
    assert differing
    assert differing <= locked("gpu") | locked("cpu")
    cuda, architectures = json.loads(ask(gpu, BUILD))
    assert cuda.startswith("13.")
    assert {"sm_90", "sm_100"} <= set(architectures)
    soak.record(
        "the_gpu_image_has_cuda_and_differs_by_its_lock_alone",
        f"CUDA {cuda}, {' '.join(architectures)}; {len(differing)} packages differ, all of its lock; "
        f"{megabytes} MB in the store, compressed and unpacked; built in {seconds:.0f} s",
    )
