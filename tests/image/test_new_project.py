"""A new project of each kind where there is an engine: trained, shipped, verified and asked by a partner."""

import json
import subprocess
import time
from pathlib import Path

import pytest

from samebench.tasks.new_project import KINDS
from tests.families.conftest import SAMPLES
from tests.samebench import bundles
from tests.samebench import checkout as checkouts

from .conftest import as_user, copy_for_all, give
from .test_serve import docker_says
from .test_ship import HARDENED

# Asks the server in its own container, which has no network but loopback.
ASK = """
import sys, urllib.request
post = urllib.request.Request("http://127.0.0.1:8000/predict", sys.stdin.buffer.read(), {"content-type": sys.argv[1]})
print(urllib.request.urlopen(post, timeout=30).read().decode())
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_project_is_shipped_and_answers_at_a_partner(kind: str, image: str, tmp_path: Path) -> None:
    made, keys, name = copy_for_all(tmp_path), tmp_path / "keys", f"my_{kind}"
    keys.mkdir()
    (made / "tests").mkdir()
    for each in (made, keys):
        give(each, uid=1234, gid=1234)

    def make(*words: str) -> str:
        done = checkouts.run(
            [*as_user(1234), "make", "-s", *words, "RUNTIME=docker"],
            cwd=made,
            timeout=1100,
            variables={"HOME": "/nonexistent"},
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    make("new-project", f"NAME={name}", f"KIND={kind}")
    make("train", f"PROJECT={name}", "ARGS=--epochs 1")
    output = make("ship", f"PROJECT={name}", f"KEY={keys}/samebench.key", "ARGS=--max-latency-ms-p99 10000")
    bundle = made / output.splitlines()[-1].split(":")[0]
    assert bundle.name.startswith(f"{name}-")
    tag = f"{name}-serve:{bundle.name.split('-')[1]}"
    done = bundles.verify(keys / "samebench.pub", bundle, variables={"RUNTIME": "docker"})
    assert done.returncode == 0, done.stderr
    (container,) = docker_says("run", "--detach", "--rm", *HARDENED, "--env", "SERVE=without-a-key", tag)
    try:
        body, media_type = SAMPLES[kind]
        words = ["docker", "exec", "--interactive", container, "python", "-c", ASK, media_type]
        deadline = time.monotonic() + 100
        while (reply := subprocess.run(words, input=body, capture_output=True)).returncode:
            assert time.monotonic() < deadline, reply.stderr
            time.sleep(0.2)
        answer = json.loads(reply.stdout)
        assert isinstance(answer["warnings"], list)
        assert "value" in answer if kind == "table" else len(answer["probabilities"]) > 1
    finally:
        docker_says("kill", container)
        docker_says("image", "rm", tag)
