"""Deadlines and queues, made short: the server in a thread of these tests, so that its limits can be set."""

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import uvicorn
from numpy.typing import NDArray

from samebench.environment import cores
from samebench.serving import application, protocol, upload
from samebench.serving.artifact import Artifact
from samebench.serving.request_log import JsonLogHandler, RequestLoggingMiddleware
from samebench.serving.samples import Arrays, Sample
from samebench.serving.upload import Body
from tests.samebench.server import free_port
from tests.waiting import wait_until

from .conftest import PNG, Server, encoded, form, probabilities, reply_on

STATES: list[application.Application] = []  # the last is that of the server which runs
SERVERS: list[uvicorn.Server] = []  # and that server
HEAD = b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ncontent-length: 1000\r\n\r\n"


@contextmanager
def running(artifact: Artifact) -> Iterator[Server]:
    port = free_port()
    state = application.Application(artifact)
    STATES.append(state)
    app = RequestLoggingMiddleware(state, state.metrics)
    config = uvicorn.Config(
        app, port=port, http=protocol.Protocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    SERVERS.append(server)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Server(port)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def server(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """One that waits a second for a head and two for a body."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(protocol, "BODY_SECONDS", 2.0)
    with running(artifact) as one:
        yield one


def until_closed(client: socket.socket, every: float = 0.1, sending: bytes = b"") -> tuple[float, bytes]:
    """Seconds until the other side closes, meanwhile sending a little, and what it has said."""
    begun, said = time.monotonic(), b""
    client.settimeout(every)
    while time.monotonic() < begun + 15:
        try:
            if sending:
                client.sendall(sending)
            chunk = client.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            break
        said += chunk
        if not chunk:
            break
    return time.monotonic() - begun, said


@pytest.mark.parametrize(
    ("first", "then", "seconds", "part"),
    [
        (b"", b"", 1, "head"),
        (b"POST /predict HTTP/1.1\r\n", b"", 1, "head"),
        (b"POST /predict HTTP/1.1\r\n", b"a: b\r\n", 1, "head"),
        (b"", b"\r\n", 1, "head"),
        (HEAD, b"", 2, "body"),
        (HEAD, b"x", 2, "body"),
    ],
)
def test_who_is_late_is_told_so_and_sent_away(
    server: Server, first: bytes, then: bytes, seconds: float, part: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(first)
        took, said = until_closed(client, sending=then)
    assert seconds - 0.2 <= took < seconds + 5
    assert said.startswith(b"HTTP/1.1 408 ")
    assert json.loads(said.split(b"\r\n\r\n")[1])["detail"] == f"the {part} was not here after {seconds} s"


def test_the_next_request_on_a_connection_has_a_deadline_too(server: Server, images: NDArray[np.uint8]) -> None:
    content = encoded(images[0])
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HEAD.replace(b"1000", str(len(content)).encode()) + content)
        assert reply_on(client) == 200
        client.sendall(b"POST /predict HTT")
        took, said = until_closed(client)
    assert took < 6
    assert said.startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_closed(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply_on(client) == 200
        took, said = until_closed(client)
    assert (took < 12, said) == (True, b"")


def test_slow_clients_keep_nobody_waiting(server: Server, images: NDArray[np.uint8]) -> None:
    crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
    for client in crowd:
        client.sendall(HEAD)
    assert server.predict(encoded(images[0])).status == 200
    for client in crowd:
        client.close()


def test_beyond_the_connections_there_are_honest_503(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    with running(artifact) as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        refused = server.ask("GET", "/health")
        for client in crowd:
            client.close()
        assert wait_until(lambda: server.ask("GET", "/health").status == 200)
    assert (refused.status, refused.headers["retry-after"]) == (503, "1")


def test_when_the_queue_is_full_large_pictures_are_refused_at_once(
    artifact: Artifact, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    free = threading.Event()
    answers = application.Application.answers

    def wait(self: Any, *arguments: Any, **named: Any) -> Any:
        if threading.current_thread().name.startswith("work"):
            free.wait(30)
        return answers(self, *arguments, **named)

    monkeypatch.setattr(application.Application, "answers", wait)
    monkeypatch.setattr(application, "QUEUE", 1)
    monkeypatch.setattr(cores, "available_cpus", lambda: 1)
    large = encoded(np.zeros((300, 300), np.uint8))
    with running(artifact) as server:
        waiting = [threading.Thread(target=server.predict, args=(large,)) for _ in "ab"]
        for thread in waiting:
            thread.start()
        assert wait_until(lambda: STATES[-1].queued == 2)
        begun = time.monotonic()
        refused = server.predict(large)
        assert time.monotonic() - begun < 2
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert server.predict(encoded(images[0])).status == 200, "small ones need no thread"
        free.set()
        for thread in waiting:
            thread.join()
        assert server.predict(large).status == 200


@pytest.mark.parametrize(
    ("seconds", "alone", "form_of_3"), [(0.0001, "loop", "loop"), (0.002, "loop", "work"), (1, "work", "work")]
)
def test_a_heavy_network_is_asked_beside_the_event_loop_and_a_light_one_in_it(
    artifact: Artifact,
    images: NDArray[np.uint8],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    alone: str,
    form_of_3: str,
) -> None:
    threads: list[str] = []
    answers = application.Application.answers

    def note(self: Any, *arguments: Any, **named: Any) -> Any:
        threads.append("work" if threading.current_thread().name.startswith("work") else "loop")
        return answers(self, *arguments, **named)

    monkeypatch.setattr(application.Application, "answers", note)
    monkeypatch.setattr(Artifact, "measure_seconds", lambda _: seconds)
    with running(artifact) as server:
        assert server.predict(encoded(images[0])).status == 200
        assert server.predict(*form(*[encoded(images[0])] * 3)).status == 200
    assert threads == [alone, form_of_3]


def test_a_form_that_is_too_much_work_is_given_up(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "WORK_SECONDS", 0.1)
    large = encoded(np.zeros((3000, 3000), np.uint8))
    with running(artifact) as server:
        assert server.predict(large).status == 200
        assert server.predict(*form(*[large] * 32)).status == 413


def test_the_memory_of_bodies_is_bounded_and_given_back(
    artifact: Artifact, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "HELD_BYTES", 3000)
    monkeypatch.setattr(upload, "ALWAYS_BYTES", 0)
    large = encoded(np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8))
    with running(artifact) as server:
        refused = server.predict(large)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        for _ in range(20):
            assert server.predict(encoded(images[0])).status == 200
        assert server.predict(b"x" * 100, {"content-type": "multipart/form-data; boundary=a"}).status == 400
    assert Body.total_bytes == 0


def test_a_client_that_leaves_takes_its_share_with_it(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(HEAD + b"x" * 500)
        assert wait_until(lambda: Body.total_bytes == 500)
    assert wait_until(lambda: Body.total_bytes == 0)


def test_a_mistake_of_ours_is_a_problem_and_its_traceback_one_line_of_the_log(
    artifact: Artifact, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(application.Application, "answer", fail)
    monkeypatch.setattr(logging.root, "handlers", [JsonLogHandler()])
    with running(artifact) as server:
        reply = server.predict(encoded(images[0]), PNG | {"x-request-id": "that-one"})
        assert (reply.status, reply.headers["content-type"]) == (500, "application/problem+json")
        assert reply.headers["x-request-id"] == "that-one"
        assert b"secret" not in reply.body
        mistake = json.loads(capsys.readouterr().out.splitlines()[0])
        assert mistake["request"] == "that-one"
        assert 'RuntimeError("a secret of ours")' in mistake["error"]
        assert server.ask("GET", "/health").status == 200


def test_an_artifact_that_no_longer_answers_right_is_not_healthy(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(artifact) as server:
        assert server.ask("GET", "/health").status == 200
        monkeypatch.setattr(Artifact, "predict", lambda *_: {"probabilities": np.eye(10)[::-1]})
        assert server.ask("GET", "/health").status == 503


def test_health_asks_a_few_samples_in_turns_beside_other_requests_and_once_for_all_who_wait(
    artifact: Artifact, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.stack([sample.inputs["images"] for sample in artifact.samples] * 100)
    pixels[:, 0, 0] = np.arange(1000) % 250  # one pixel, so that each can be known again
    expected = probabilities(artifact, pixels)
    samples = [
        Sample("a", {"images": image}, {"probabilities": row}) for image, row in zip(pixels, expected, strict=True)
    ]
    many = replace(artifact, samples=tuple(samples))
    asked: list[bytes] = []
    free, predict = threading.Event(), Artifact.predict

    def wait(self: Artifact, batch: Arrays) -> dict[str, NDArray[Any]]:
        if threading.current_thread().name.startswith("health"):
            asked.extend(each.tobytes() for each in batch["images"])
            free.wait(30)
        return predict(self, batch)

    monkeypatch.setattr(Artifact, "predict", wait)
    with running(many) as server:
        answers: list[int] = []
        waiting = [threading.Thread(target=lambda: answers.append(server.ask("GET", "/health").status)) for _ in "abc"]
        for thread in waiting:
            thread.start()
        assert wait_until(lambda: len(asked) == 10)
        assert server.predict(encoded(images[0])).status == 200, "while the check is under way"
        assert wait_until(lambda: len(SERVERS[-1].server_state.tasks) == 3)
        free.set()
        for thread in waiting:
            thread.join()
        assert (answers, len(asked)) == ([200] * 3, 10)
        for _ in range(99):
            assert server.ask("GET", "/health").status == 200
    assert len(asked) == 1000
    assert {*asked} == {each.tobytes() for each in pixels}, "each has had its turn"


def test_the_next_request_waits_for_its_turn_or_the_connection_ends_after_the_first(
    server: Server, images: NDArray[np.uint8]
) -> None:
    health = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    for more in (health, health * 500, b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\na: " + b"b" * 60_000):
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(health + more)
            _, said = until_closed(client)
        assert said.count(b"HTTP/1.1 200 ") == said.count(b"HTTP/1.1 ") == 1, "the first is answered, and no other"


def test_a_client_that_reads_nothing_is_not_kept(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "ANSWER_SECONDS", 1.0)
    with running(artifact) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n" * 600)
        assert wait_until(lambda: not SERVERS[-1].server_state.connections, seconds=10)


def test_trailers_without_end_are_cut_off(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        head = HEAD.replace(b"content-length: 1000", b"transfer-encoding: chunked")
        client.sendall(head + b"3\r\nabc\r\n0\r\n")
        sent = 0
        try:
            for _ in range(300):
                client.sendall(b"a: " + b"b" * 10_000 + b"\r\n")
                sent += 10_000
                time.sleep(0.001)
        except OSError:
            pass
        assert sent < 3_000_000
        assert client.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_a_body_that_comes_with_an_upgrade_is_never_taken_for_a_request(server: Server) -> None:
    body = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    head = HEAD.replace(
        b"content-length: 1000", b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d" % len(body)
    )
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head + body)
        assert reply_on(client) == 415, "it is no picture"
        client.sendall(b"GET /nowhere HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply_on(client) == 404, "and the next request is the next"


def test_a_client_that_took_its_answer_late_keeps_its_connection(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "ANSWER_SECONDS", 0.5)
    with running(artifact) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.connect(("127.0.0.1", server.port))
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert wait_until(lambda: any(each.cycle for each in SERVERS[-1].server_state.connections))  # type: ignore[union-attr]
        assert reply_on(client) == 200
        time.sleep(1)
        client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply_on(client) == 200


def test_at_the_limit_of_connections_the_one_idle_for_longest_is_closed(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    health = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
    with running(artifact) as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(3)]
        for client in (crowd[1], crowd[0], crowd[2], crowd[1]):  # so that the first is idle for longest
            client.sendall(health)
            assert reply_on(client) == 200
        assert server.ask("GET", "/health").status == 200
        assert crowd[0].recv(1) == b"", "closed to make room"
        for client in crowd[1:]:
            client.sendall(health)
            assert reply_on(client) == 200
        for client in crowd:
            client.close()


def test_at_the_limit_of_connections_a_silent_one_makes_room_after_a_moment(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "CONNECTIONS", 3)
    monkeypatch.setattr(protocol, "SILENT_SECONDS", 0.3)
    with running(artifact) as server:
        crowd = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
        assert wait_until(lambda: server.ask("GET", "/health").status == 200), "long before their heads are late"
        for client in crowd:
            client.close()


def test_a_client_that_has_said_all_and_only_listens_gets_its_answer(server: Server) -> None:
    large = encoded(np.zeros((400, 400), np.uint8))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(HEAD.replace(b"1000", str(len(large)).encode()) + large)
        client.shutdown(socket.SHUT_WR)
        assert reply_on(client) == 200


def test_what_slow_uploads_hold_keeps_no_small_picture_out(
    artifact: Artifact, images: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "HELD_BYTES", 1000)
    with running(artifact) as server, socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(HEAD + b"x" * 900)
        assert wait_until(lambda: Body.total_bytes == 900)
        assert server.predict(encoded(images[0])).status == 200
