import gzip
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.data import download

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Source:
    """A real server on loopback that answers with what `faults` tells, one a request, and then properly."""

    def __init__(self, content: bytes = CONTENT, *, ranges: bool = True) -> None:
        self.content, self.ranges = content, ranges
        self.faults: list[int | Callable[[bytes], bytes]] = []
        self.asked: list[str | None] = []
        source = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                source.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/file"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            request.send_error(fault)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if start >= len(self.content):
            request.send_error(416)
            return
        body = self.content[start:]
        request.send_response(206 if asked and self.ranges else 200)
        request.send_header("Content-Length", str(len(body)))
        if asked and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        request.end_headers()
        request.wfile.write(fault(body) if fault else body)


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Source()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def fetch(path: Path, source: Source, *, sha256: str = SHA256, suffix: str = "") -> bool:
    return download.fetch(path, sha256=sha256, sources=[source.address + suffix], pauses=(0.0, 0.0))


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda body: body[: int(len(body) * share)]


def test_a_file_is_fetched_once(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    assert fetch(path, source) is True
    assert path.read_bytes() == CONTENT
    assert fetch(path, source) is False
    assert source.asked == [None]
    assert list(path.parent.iterdir()) == [path]


def test_a_cut_transfer_goes_on_where_it_stopped(source: Source, tmp_path: Path) -> None:
    source.faults = [cut(0.5), cut(0.5)]
    fetch(tmp_path / "file", source)
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert source.asked == [None, f"bytes={len(CONTENT) // 2}-", f"bytes={len(CONTENT) * 3 // 4}-"]


def test_a_later_call_goes_on_where_the_earlier_one_gave_up(source: Source, tmp_path: Path) -> None:
    source.faults = [cut(0.5), 503, 503]
    with pytest.raises(download.UnreachableError, match=r"503|Service Unavailable"):
        fetch(tmp_path / "file", source)
    assert [path.name for path in tmp_path.iterdir()] == ["file.part"]
    fetch(tmp_path / "file", source)
    assert source.asked[-1] == f"bytes={len(CONTENT) // 2}-"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_source_that_knows_no_ranges_starts_again(source: Source, tmp_path: Path) -> None:
    source.ranges = False
    source.faults = [cut(0.5)]
    fetch(tmp_path / "file", source)
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"of another file", CONTENT + b"too long", CONTENT[:-1] + b"x"])
def test_a_wrong_leftover_is_fetched_anew(left: bytes, source: Source, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(left)
    fetch(tmp_path / "file", source)
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_passing_failures_are_tried_again(source: Source, tmp_path: Path) -> None:
    source.faults = [503, 429]
    assert fetch(tmp_path / "file", source) is True
    assert len(source.asked) == 3


def test_a_final_refusal_is_not_tried_again_and_the_next_source_is_asked(source: Source, tmp_path: Path) -> None:
    source.faults = [404]
    assert download.fetch(tmp_path / "file", sha256=SHA256, sources=[source.address] * 2, pauses=(0.0,)) is True
    assert len(source.asked) == 2


def test_wrong_bytes_are_refused_with_file_expected_and_got_and_leave_nothing(source: Source, tmp_path: Path) -> None:
    source.content = b"<html>log in to the wifi</html>"
    got = hashlib.sha256(source.content).hexdigest()
    with pytest.raises(UsageError, match=f"file: expected sha256 {SHA256}, got {got} from {source.address}"):
        fetch(tmp_path / "file", source)
    assert list(tmp_path.iterdir()) == []


def test_a_packed_source_is_unpacked(source: Source, tmp_path: Path) -> None:
    source.content = gzip.compress(CONTENT, 0)
    source.faults = [cut(0.5)]
    fetch(tmp_path / "file", source, suffix=".gz")
    assert (tmp_path / "file").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "packed", [b"no gzip", gzip.compress(CONTENT)[:-9], gzip.compress(b"other")], ids=["no gzip", "cut", "another"]
)
def test_a_wrong_packed_source_leaves_nothing(packed: bytes, source: Source, tmp_path: Path) -> None:
    source.content = packed
    with pytest.raises(UsageError, match=f"file: expected sha256 {SHA256}, got"):
        fetch(tmp_path / "file", source, suffix=".gz")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_is_refused_and_kept(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(UsageError, match="delete it"):
        fetch(tmp_path / "file", source)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert source.asked == []


def test_nobody_there_is_lacking_and_names_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    address = "http://127.0.0.1:9/file"
    with pytest.raises(download.UnreachableError, match=address):
        download.fetch(tmp_path / "file", sha256=SHA256, sources=[address], pauses=(0.0,))


def test_the_proxy_of_the_environment_is_asked(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", source.address.removesuffix("/file"))
    download.fetch(tmp_path / "file", sha256=SHA256, sources=["http://upstream.invalid/file"], pauses=())
    assert source.asked == [None]


def test_what_several_fetch_at_the_same_time_is_fetched_once(source: Source, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        started = [pool.submit(fetch, tmp_path / "file", source) for _ in range(4)]
    assert sorted(each.result() for each in started) == [False, False, False, True]
    assert source.asked == [None]


def test_a_gzip_file_that_unpacks_to_more_than_is_allowed_is_refused(source: Source, tmp_path: Path) -> None:
    source.content = gzip.compress(bytes(50_000_000))
    with pytest.raises(UsageError, match="got a gzip file of more than 1,000,000 bytes"):
        download.fetch(
            tmp_path / "file", sha256=SHA256, sources=[source.address + ".gz"], pauses=(), max_bytes=1_000_000
        )
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_announced_as_too_large_is_refused_before_it_is_sent(source: Source, tmp_path: Path) -> None:
    source.content = bytes(2_000_000)
    with pytest.raises(UsageError, match="sends more than the 1,000,000 bytes allowed; nothing was kept"):
        download.fetch(tmp_path / "file", sha256=SHA256, sources=[source.address], pauses=(), max_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that answers each request with `answer`."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection, suppress(OSError):
                    connection.recv(65536)
                    answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/file"
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def test_a_body_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with server(answer) as address, pytest.raises(UsageError, match="sends more than the 1,000,000 bytes allowed"):
        download.fetch(tmp_path / "file", sha256=SHA256, sources=[address], pauses=(), max_bytes=1_000_000)
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_only_trickles_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "WINDOW", 0.2)

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    with server(answer) as address, pytest.raises(download.UnreachableError, match=r"only \d+ bytes in"):
        download.fetch(tmp_path / "file", sha256=SHA256, sources=[address], pauses=())


def test_a_redirect_that_leads_to_itself_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n")

    with server(answer) as address, pytest.raises(download.UnreachableError, match="infinite loop"):
        download.fetch(tmp_path / "file", sha256=SHA256, sources=[address])


def test_a_length_that_is_no_number_and_a_body_longer_than_announced_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for length in (b"many", b"-1", b"%d" % len(CONTENT)):

        def answer(connection: socket.socket, length: bytes = length) -> None:
            more = b"and more" if length.isdigit() else b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + CONTENT + more)

        with server(answer) as address:
            download.fetch(tmp_path / "file", sha256=SHA256, sources=[address], pauses=())
        assert (tmp_path / "file").read_bytes() == CONTENT
        (tmp_path / "file").unlink()


def test_a_disk_that_is_full_is_no_fault_of_the_network(source: Source) -> None:
    (part := Path("/dev/full")).stat()
    with pytest.raises(OSError, match="No space left") as failed:
        download._transfer(part, source.address, pauses=(0.0,), max_bytes=1 << 30)
    assert failed.value.filename == str(part)


def test_no_part_is_written_through_a_link(source: Source, tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"")
    (tmp_path / "file.part").symlink_to("mine")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        fetch(tmp_path / "file", source)
    assert (tmp_path / "mine").read_bytes() == b""
