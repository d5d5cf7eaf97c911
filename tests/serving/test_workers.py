"""A server of several processes, each of them real."""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from samebench.core.command import RequirementError, UsageError
from samebench.serving.server import listeners
from samebench.serving.server_settings import MOST_WORKERS, Environment
from tests.waiting import wait_until

from .conftest import Server, encoded, logged, start
from .load import Request, crowd


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """One of two workers."""
    running = start(folder, WORKERS="2")
    assert running.process
    assert running.log
    pids = workers(running)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
    running.process.wait(20)
    running.log.close()
    wait_until(lambda: not any(map(is_running, pids)))
    left = [pid for pid in pids if is_running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def workers(server: Server) -> list[int]:
    assert server.process
    pid = server.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def connections(pid: int) -> int:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


def test_each_worker_takes_connections_and_metrics_count_those_of_all(
    server: Server, images: NDArray[np.uint8]
) -> None:
    pids = workers(server)
    assert len(pids) == 2
    before = [connections(pid) for pid in pids]
    clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    assert wait_until(lambda: sum(map(connections, pids)) == sum(before) + 40)
    assert all(connections(pid) > count for pid, count in zip(pids, before, strict=True))
    for client in clients:
        client.close()
    labels = [server.predict(encoded(images[0])).json()["category"] for _ in range(40)]
    assert len(set(labels)) == 1
    lines = ['requests_total{path="/predict",status="200"}', 'request_seconds_count{path="/predict"}']
    lines.append(f'pictures_total{{category="{labels[0]}"}}')

    def counts() -> list[str]:
        text = server.ask("GET", "/metrics").body.decode()
        return [each for line in lines for each in re.findall(rf"{re.escape(line)} (\S+)", text)]

    assert wait_until(lambda: counts() == ["40.0"] * 3), "an answer is counted when it has been sent"
    assert all(counts() == ["40.0"] * 3 for _ in range(10)), "whichever worker answers"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_told_to_stop_all_workers_end_and_no_request_is_lost(
    server: Server, images: NDArray[np.uint8], number: signal.Signals
) -> None:
    assert server.process
    category = server.predict(encoded(images[0])).json()["category"]
    requests = [Request(encoded(images[0]), category)]

    async def load() -> tuple[int, int, int]:
        loop = asyncio.get_running_loop()
        loop.call_later(0.5, server.process.send_signal, number)  # type: ignore[union-attr]
        one, other = await asyncio.gather(
            crowd(server.port, requests, clients=4, seconds=20),
            crowd(server.port, requests, clients=4, seconds=20, anew=True),
        )
        return one.lost + other.lost, one.wrong + other.wrong, one.statuses[200] + other.statuses[200]

    lost, wrong, right = asyncio.run(load())
    assert (lost, wrong) == (0, 0)
    assert right
    assert server.process.wait(20) == 0
    assert "error" not in logged(server)


def test_a_worker_that_dies_ends_the_server_with_a_line_and_a_code(server: Server) -> None:
    assert server.process
    os.kill(workers(server)[1], signal.SIGKILL)
    assert server.process.wait(20) == 3
    line = "error: worker 2 of 2 was killed by SIGKILL, and the server with it; start it again"
    assert logged(server).splitlines()[1:] == [line]


def test_workers_end_with_the_process_that_watches_them(server: Server) -> None:
    assert server.process
    server.process.kill()  # the fixture sees that none is left


def test_health_speaks_for_all_workers(server: Server) -> None:
    silent = workers(server)[0]
    os.kill(silent, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 60
        answers: list[bytes] = []
        while not answers and time.monotonic() < deadline:  # the stopped one takes connections, too
            try:
                with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
                    client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
                    answers = [client.makefile("rb").read()]
            except TimeoutError:
                continue
        assert answers[0].startswith(b"HTTP/1.1 503 ")
        assert b"worker 1 of 2 does not answer" in answers[0]
    finally:
        os.kill(silent, signal.SIGCONT)
    assert wait_until(lambda: server.ask("GET", "/health").status == 200)


def test_a_port_of_a_server_of_ours_is_taken(server: Server) -> None:
    with pytest.raises(RequirementError, match="Address already in use"):
        listeners("127.0.0.1", server.port, 2)


@pytest.mark.parametrize("value", ["0", str(MOST_WORKERS + 1), "two", "-1", "1.5"])
def test_impossible_numbers_of_workers_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("WORKERS", value)
    with pytest.raises(UsageError, match=f"WORKERS={value}: give a number from 1 to {MOST_WORKERS}"):
        Environment.read()
