"""A server of ours, started as a user would, once it said where it is."""

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkout import INHERITED


@dataclass
class Server:
    """A server that said where it is."""

    process: subprocess.Popen[str]
    line: str  # with the link
    said: str  # beside it, on stderr, until then
    stderr: Path | None = None  # all that it says there

    @property
    def link(self) -> str:
        """Where it said that it is."""
        return self.line.split()[1]

    @property
    def port(self) -> int:
        """The port in the link."""
        return int(self.link.split(":")[2].split("/")[0])

    @property
    def token(self) -> str:
        """The token in the link."""
        return self.link.split("token=")[-1]

    def ask(self, method: str, path: str, **headers: str) -> int:
        """The status of the answer, 0 for none; redirects are not followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            return connection.getresponse().status
        except TimeoutError:
            return 0
        finally:
            connection.close()

    def exchange(self, method: str, path: str, content: object = None) -> Any:
        """JupyterLab's answer to JSON that is sent with the token; None where it has none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(content).encode(),
            headers={"Authorization": f"token {self.token}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - always our own http address
            return json.loads(reply.read() or "null")


def free_port() -> int:
    """A port that no other test asks for at the same moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(path: Path) -> None:
    """Waits until it is there, for at most 10 s."""
    for _ in range(100):
        if path.exists():
            return
        time.sleep(0.1)
    raise TimeoutError(path)


@contextmanager
def started(*words: str | Path, at: Path, **variables: str) -> Iterator[Server]:
    """The server that the command `words` starts in the checkout `at`; ended as Ctrl-C would."""
    environment = {k: v for k, v in os.environ.items() if k not in {*INHERITED, "OPEN", "SAMEBENCH_PUBLISHED"}}
    environment |= {"PORT": str(free_port())} | variables
    if "make" in words:  # which takes this from its command line only
        given = [name for name in ("OPEN", "PLATFORM", "PORT") if name in environment]
        words = (*words, *(f"{name}={environment.pop(name)}" for name in given))
    with (
        tempfile.NamedTemporaryFile() as said,
        subprocess.Popen(
            words,
            cwd=at,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout
            line = process.stdout.readline()
            if line.startswith("onnxruntime "):  # it warns of processors that it does not know, such as emulated ones
                line = process.stdout.readline()
            assert line, Path(said.name).read_text()
            yield Server(process, line, Path(said.name).read_text(), Path(said.name))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to make, the shell and all
                process.wait(30)
