"""What clients and proxies may send by the standard, and what they may expect of a connection."""

import http.client
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from .conftest import PNG, Server, encoded, end, reply_on, start

# The default HTTP client of Java 11 and later: it offers HTTP/2 on every request. Prints each status.
JAVA = """
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

class Client {
    static void ask(HttpClient client, HttpRequest.Builder request) throws Exception {
        System.out.println(client.send(request.build(), BodyHandlers.ofString()).statusCode());
    }

    public static void main(String[] words) throws Exception {
        var client = HttpClient.newHttpClient();
        var picture = HttpRequest.BodyPublishers.ofFile(Path.of(words[1]));
        var chunked = HttpRequest.BodyPublishers.fromPublisher(picture);
        var to = HttpRequest.newBuilder(URI.create(words[0] + "/predict")).header("content-type", "image/png");
        ask(client, to.copy().POST(picture));
        ask(client, to.copy().POST(picture));
        ask(client, to.copy().POST(chunked));
        ask(client, to.copy().expectContinue(true).POST(picture));
        var health = HttpRequest.newBuilder(URI.create(words[0] + "/health"));
        ask(client, health.copy().GET());
        ask(client, health.copy().method("HEAD", HttpRequest.BodyPublishers.noBody()));
    }
}
"""


@contextmanager
def started(folder: Path, **variables: str) -> Iterator[Server]:
    """A server of its own, which is ended."""
    server = start(folder, **variables)
    try:
        yield server
    finally:
        end(server)


def answers(server: Server, *requests: bytes) -> list[tuple[int, bytes]]:
    """Status and body of each of these requests, one after the other on one connection."""
    told = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        for request in requests:
            client.sendall(request)
            with http.client.HTTPResponse(client, method=request.split(b" ")[0].decode()) as reply:
                reply.begin()
                told.append((reply.status, reply.read()))
    return told


def post(body: bytes, *lines: bytes, target: bytes = b"/predict") -> bytes:
    """The bytes of a POST of a picture with these further header lines."""
    length = b"content-length: %d" % len(body)
    head = [b"POST %s HTTP/1.1" % target, b"host: a", b"content-type: image/png", length, *lines, b"", b""]
    return b"\r\n".join(head) + body


@pytest.mark.parametrize(
    "lines",
    [
        (b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAEAAEAA", b"Upgrade: h2c"),
        (b"connection: keep-alive, Upgrade", b"upgrade: websocket", b"sec-websocket-version: 13"),
        (b"CONNECTION: upgrade", b"UPGRADE: TLS/1.2"),
        (b"connection: HTTP2-Settings", b"connection: upgrade", b"upgrade: h2c, foo/2"),
        (b"connection: TE", b"te: trailers"),
        (b"accept-encoding: gzip, br", b"accept: application/json", b"cookie: a=b"),
        (b"authorization: Bearer who-knows  \t",),
    ],
)
def test_an_offer_of_another_protocol_is_ignored(
    server: Server, images: NDArray[np.uint8], lines: tuple[bytes]
) -> None:
    picture = encoded(images[0])
    expected = server.predict(picture).body
    request = post(picture, *lines)
    assert answers(server, request, post(picture), request) == [(200, expected)] * 3, "and the connection goes on"


def test_an_offer_that_comes_in_pieces_is_ignored_too(server: Server, images: NDArray[np.uint8]) -> None:
    picture = encoded(images[0])
    request = post(picture, b"connection: upgrade, close", b"upgrade: h2c")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (request[:20], request[20:150], request[150:-9], request[-9:]):
            client.sendall(piece)
        said = b""
        while chunk := client.recv(65536):
            said += chunk
    assert said.startswith(b"HTTP/1.1 200 ")
    assert said.endswith(server.predict(picture).body), "and what else stands in the header Connection holds"


@pytest.mark.parametrize("target", [b"http://a", b"http://a/", b"http://a:8000?x=y", b"//", b"/?"])
def test_a_target_may_be_a_whole_address(server: Server, target: bytes) -> None:
    status = 404 if target == b"//" else 200
    assert answers(server, b"GET %s HTTP/1.1\r\nhost: a\r\n\r\n" % target)[0][0] == status
    assert answers(server, post(b"x", target=b"http://a/predict"))[0][0] == 415


def test_trailers_are_no_headers(folder: Path, images: NDArray[np.uint8]) -> None:
    picture = encoded(images[0])
    chunks = b"%x\r\n%s\r\n0\r\nauthorization: Bearer sesame\r\n\r\n" % (len(picture), picture)
    head = (
        b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\ntrailer: a\r\n"
    )
    with started(folder, API_KEY="sesame") as guarded:  # pragma: allowlist secret
        assert answers(guarded, head + b"\r\n" + chunks)[0][0] == 401
        assert answers(guarded, head + b"authorization: Bearer sesame \r\n\r\n" + chunks)[0][0] == 200


def test_head_and_options_are_answered_without_a_body(server: Server) -> None:
    whole = server.ask("GET", "/")
    head = server.ask("HEAD", "/")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(whole.body)))
    for path, allowed in (("/predict", "POST"), ("/health", "GET, HEAD")):
        options = server.ask("OPTIONS", path)
        assert (options.status, options.headers["allow"]) == (405, allowed)


def test_a_client_that_asks_first_whether_it_may_send_is_told_so(server: Server, images: NDArray[np.uint8]) -> None:
    request = post(encoded(images[0]), b"Expect: 100-continue ")
    head, _, body = request.partition(b"\r\n\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_javas_own_client_is_answered(server: Server, images: NDArray[np.uint8], tmp_path: Path) -> None:
    java = shutil.which("java")
    if not java or subprocess.run([java, "--list-modules"], capture_output=True).stdout.find(b"jdk.compiler") < 0:
        pytest.skip("no JDK here")
    (tmp_path / "Client.java").write_text(JAVA)
    (tmp_path / "picture.png").write_bytes(encoded(images[0]))
    words = [java, "Client.java", f"http://127.0.0.1:{server.port}", "picture.png"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["200"] * 6, done.stderr


def test_an_idle_connection_outlives_those_of_proxies_and_ends_when_told_to_stop(folder: Path) -> None:
    with started(folder) as server, socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        assert server.process
        client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply_on(client) == 200
        client.settimeout(6.5)  # as long as uvicorn itself keeps one, and a little more
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        server.process.send_signal(signal.SIGTERM)
        assert client.recv(1) == b""
        assert server.process.wait(8) == 0


def test_the_time_of_idle_connections_can_be_set(folder: Path) -> None:
    with (
        started(folder, KEEP_ALIVE="1") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n")
        assert reply_on(client) == 200
        assert client.recv(1) == b"", "closed within 10 s"


def test_a_health_check_leaves_no_line_in_the_log_and_a_failed_request_does(folder: Path) -> None:
    server = start(folder)
    try:
        for method in ("GET", "HEAD", "GET"):
            assert server.ask(method, "/health").status == 200
        assert server.ask("POST", "/health").status == 405
        assert server.predict(b"no picture", PNG).status == 415
    finally:
        lines = end(server).splitlines()  # an answer goes out before its line is written
    assert [json.loads(line)["status"] for line in lines] == [405, 415]
