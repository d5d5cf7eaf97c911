"""More connections than the system has files for."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.commands import environment
from tests.samebench.server import free_port

from .conftest import Server, encoded, logged, reply_on

HEALTH = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"


@contextmanager
def limited(folder: Path, soft: int, hard: int) -> Iterator[Server]:
    """A server of which the system allows so few open files."""
    port, read = free_port(), folder.parent / f"log-{soft}-{hard}-{os.getpid()}"
    changes = {"ARTIFACT": str(folder), "PORT": str(port), "API_KEY": None, "HOST": None, "SERVE": None}
    limits = f"import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}));"
    line = f"{limits} runpy.run_module('samebench.serving', run_name='__main__')"
    with read.open("w+") as log:
        words = [sys.executable, "-c", line]
        process = subprocess.Popen(words, env=environment(changes), stdout=log, stderr=subprocess.STDOUT)
        server = Server(port, process, log)
        try:
            while not logged(server).endswith("\n") and process.poll() is None:
                time.sleep(0.01)
            assert f":{port}/" in logged(server), logged(server)
            yield server
        finally:
            process.terminate()
            process.wait(20)
            read.unlink()


def crowd(server: Server, count: int, first: bytes) -> list[socket.socket]:
    """So many connections, each of which sends `first` and no more."""
    made = []
    for _ in range(count):
        made.append(socket.create_connection(("127.0.0.1", server.port), timeout=20))
        made[-1].sendall(first)
    return made


@pytest.mark.parametrize(("soft", "hard"), [(64, 64), (64, 128)])
@pytest.mark.parametrize("first", [HEALTH, b"", b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n"])
def test_more_idle_connections_than_files_keep_nobody_out_and_fill_no_log(
    folder: Path, images: NDArray[np.uint8], soft: int, hard: int, first: bytes
) -> None:
    with limited(folder, soft, hard) as server:
        clients = crowd(server, 300, first)
        busy = first.startswith(b"POST")  # none of them is idle: the others hear so, until the bodies are late
        expected, deadline, statuses = 503 if busy else 200, time.monotonic() + 20, [0]
        while statuses[-1] != expected and time.monotonic() < deadline:
            with suppress(OSError):  # reset, where many are refused in one second
                statuses.append(server.predict(encoded(images[0])).status)
            time.sleep(0.1)
        assert statuses[-1] == expected, statuses
        assert set(statuses) <= {0, 200, 503}
        if not busy:
            assert server.ask("GET", "/health").status == 200
        for client in clients:
            client.close()
        assert server.process
        server.process.terminate()
        server.process.wait(20)
        said = logged(server).partition("\n")[2]
    assert len(said) < 20_000
    lines = [json.loads(line) for line in said.splitlines()]
    assert not [line for line in lines if "error" in line]
    about = [line["time"] for line in lines if "times" in line]
    assert about
    assert all(later - before > 0.9 for before, later in pairwise(about)), "a line a second"


def test_the_limit_of_files_is_raised_as_far_as_it_may_be(folder: Path) -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 1200:
        pytest.skip("few files may be open here")
    with limited(folder, 64, 1200) as server:
        clients = crowd(server, 300, HEALTH)
        for client in clients:
            assert reply_on(client) == 200
        for client in clients:
            client.sendall(HEALTH)
            assert reply_on(client) == 200, "it is still open"
            client.close()
        assert logged(server).count("\n") == 1, "the link"


def test_too_few_files_for_any_connection_are_said_in_a_line(folder: Path, tmp_path: Path) -> None:
    line = "import resource, runpy; resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32));"
    line += "runpy.run_module('samebench.serving', run_name='__main__')"
    changes = {"ARTIFACT": str(folder), "PORT": str(free_port()), "API_KEY": None, "HOST": None, "SERVE": None}
    done = subprocess.run(
        [sys.executable, "-c", line], cwd=tmp_path, env=environment(changes), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: at most 32 open files are allowed, too few for a server; first: ulimit -n ")
    assert done.stderr.count("\n") == 1
