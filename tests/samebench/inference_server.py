"""The inference server as a process of its own, and what it answers."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tests.commands import environment
from tests.samebench.server import free_port

PNG = {"content-type": "image/png"}


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
    unset = dict.fromkeys(("API_KEY", "HOST", "SAMEBENCH_IMAGE", "SERVE", "WORKERS"))
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
