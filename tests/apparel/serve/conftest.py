"""An artifact of a small network, and the server of it as a process of its own."""

import http.client
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apparel import data
from apparel.settings import Budgets, Settings
from samebench.runs.run import Run
from samebench.serving import export
from samebench.serving.artifact import Artifact
from samebench.training import train
from tests.commands import environment
from tests.samebench.server import free_port

ANY = Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000)
PNG = {"content-type": "image/png"}


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that knows the synthetic set well, exported."""
    settings = Settings(data="synthetic", network="linear", epochs=4)
    made = train.train(settings, runs=tmp_path_factory.mktemp("runs"))
    export.export(made, ANY)
    return made


@pytest.fixture(scope="session")
def folder(run: Run) -> Path:
    """Its artifact."""
    return run.directory / "artifact"


@pytest.fixture(scope="session")
def artifact(folder: Path) -> Artifact:
    return Artifact.load(folder)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Test images (N, 28, 28)."""
    found: NDArray[np.uint8] = data.load("synthetic").test().images.squeeze(1).numpy()
    found[:, 0, 0] = 0  # a dark corner, as every image of Fashion-MNIST has
    return found


def probabilities(artifact: Artifact, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What an artifact answers on images (N, 28, 28)."""
    return artifact.predict({"images": images})["probabilities"]


def change_spec(artifact: Artifact, **changes: Any) -> Artifact:
    return replace(artifact, spec={**artifact.spec, **changes})


def encoded(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """The file that a picture would be."""
    content = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(content, kind, **options)
    return content.getvalue()


def form(*contents: bytes, field: str = "picture") -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data with these files, and its header."""
    head = f'--limit\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n'
    parts = b"".join(head.encode() + b"Content-Type: image/png\r\n\r\n" + each + b"\r\n" for each in contents)
    return parts + b"--limit--\r\n", {"content-type": "multipart/form-data; boundary=limit"}


@dataclass
class Reply:
    """What a server answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def reply_on(client: socket.socket) -> int:
    """The status of the next answer, which is read to its end."""
    with http.client.HTTPResponse(client) as reply:
        reply.begin()
        reply.read()
        return reply.status


@dataclass
class Server:
    """A server on loopback."""

    port: int
    process: subprocess.Popen[bytes] | None = None
    log: IO[str] | None = None

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body or None, dict(headers or {}))
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def predict(self, body: bytes, headers: Mapping[str, str] = PNG, *, query: str = "") -> Reply:
        return self.ask("POST", f"/predict{query}", body, headers)


def start(folder: Path, **variables: str) -> Server:
    """The server of the artifact in `folder`, ready."""
    port = free_port()
    unset = dict.fromkeys(("API_KEY", "HOST", "SAMEBENCH_IMAGE", "SERVE"))
    changes = {**unset, "ARTIFACT": str(folder), "PORT": str(port), **variables}
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - a pipe would be full one day; `end` closes it
    process = subprocess.Popen(
        [sys.executable, "-m", "samebench.serving"], env=environment(changes), stdout=log, stderr=subprocess.STDOUT
    )
    server = Server(port, process, log)
    while not (said := logged(server)).endswith("\n") and process.poll() is None:
        time.sleep(0.01)
    assert f":{port}/" in said, said
    return server


def logged(server: Server) -> str:
    """What it has said so far."""
    assert server.log
    return os.pread(server.log.fileno(), 1 << 26, 0).decode()


def end(server: Server) -> str:
    """Ends it; what it has said after its link."""
    assert server.process
    assert server.log
    server.process.terminate()
    server.process.wait(20)
    said = logged(server)
    server.log.close()
    return said.partition("\n")[2]


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    running = start(folder)
    yield running
    end(running)
