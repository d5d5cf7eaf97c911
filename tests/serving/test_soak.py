"""The server under what the world may send: quick in `make test`, long in `make soak`, which keeps the figures."""

import asyncio
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samebench.serving import openapi
from samebench.serving.artifact import Artifact
from tests import reference, soak
from tests.serving import fuzz
from tests.serving.load import Request, Seen, crowd, forget, memory

from .conftest import PNG, Server, encoded, end, form, logged, probabilities, start


def length(quick: int, long: int) -> pytest.MarkDecorator:
    """How much: `quick` always, `long` in soak."""
    return pytest.mark.parametrize("count", [quick, pytest.param(long, marks=pytest.mark.soak)])


@pytest.fixture
def requests(artifact: Artifact, images: NDArray[np.uint8]) -> list[Request]:
    labels = [artifact.spec["labels"][place] for place in probabilities(artifact, images[:50]).argmax(1)]
    return [Request(encoded(image), label) for image, label in zip(images, labels, strict=False)]


@pytest.fixture
def pid(server: Server) -> int:
    assert server.process
    return server.process.pid


def send(port: int, upload: fuzz.Upload) -> tuple[int, float]:
    """The status that the server answers with, 0 for none, and the seconds until it closed."""
    begun, said = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has closed; what it said lies here already
            client.sendall(upload.raw)
            if not upload.whole:
                client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                said += chunk
    status = re.match(rb"HTTP/1.1 (\d+) ", said)
    return int(status[1]) if status else 0, time.monotonic() - begun


@length(400, 10_000)
def test_malformed_uploads_never_break_the_server(
    server: Server, pid: int, requests: list[Request], count: int
) -> None:
    wholes = fuzz.pictures()
    send(server.port, fuzz.upload(0, wholes))
    expected = {0, 200, 404, 405, *map(int, openapi.PROBLEMS)} - {503}
    before, slowest, statuses = memory(pid), 0.0, Counter[int]()
    for seed in range(count):
        upload = fuzz.upload(seed, wholes)
        status, seconds = send(server.port, upload)
        assert status or not upload.whole, f"seed {seed}: no answer"
        assert status in expected, f"seed {seed}: {status}"
        statuses[status] += 1
        slowest = max(slowest, seconds)
    more = memory(pid) - before
    assert more < 50_000_000
    assert all(line.startswith("{") for line in logged(server).splitlines()[1:])
    assert server.predict(requests[0].content).json()["category"] == requests[0].category
    if count > 1000:
        assert slowest < 1
        told = ", ".join(f"{number} of {status or 'no answer'}" for status, number in sorted(statuses.items()))
        soak.record(
            "malformed_uploads",
            f"{count} uploads: {told}; slowest {slowest:.2f} s, {more / 1e6:.0f} MB more memory afterwards",
        )


def endless(port: int, size: int) -> int:
    """The status of a chunked upload of `size` bytes without a length, as its client hears it."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(size // 65536):
                client.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            pass  # it has closed; what it said lies here already
        return int(client.recv(65536).split()[1])


@length(1, 5)
def test_bombs_are_refused_or_right_at_once_in_little_memory(server: Server, pid: int, count: int) -> None:
    rng = np.random.default_rng(0)
    frame = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    header = encoded(Image.new("L", (16, 16)), "JPEG").replace(b"\x00\x10\x00\x10\x01", b"\xff\xff\xff\xff\x01")
    boot = Image.new("RGB", (300, 400), "white")
    boot.paste((60, 60, 60), (80, 100, 220, 300))
    bombs = {
        "12000x12000 1-bit PNG": (encoded(Image.new("1", (12_000, 12_000))), 413),
        "65k JPEG header": (header, 413),
        "GIF of 10,000 frames": (encoded(frame, "GIF", save_all=True, append_images=[frame] * 9_999), 415),
        "CMYK": (encoded(boot.convert("CMYK"), "JPEG"), 200),
        "16 bit": (encoded(Image.fromarray(np.asarray(boot.convert("L")).astype(np.uint16) * 257)), 200),
        "alpha": (encoded(boot.convert("RGBA")), 200),
    }
    # A form of large ones is worked on one at a time.
    whole = encoded(Image.new("RGB", (3000, 3000)))
    bombs["eight of 3000x3000"] = (form(*[whole] * 8)[0], 200)
    server.predict(bombs["CMYK"][0])
    forget(pid)
    before, slowest = memory(pid), 0.0
    for name, (content, status) in [*bombs.items()] * count:
        begun = time.monotonic()
        kind = form()[1] if content.startswith(b"--limit") else PNG
        assert server.predict(content, kind).status == status, name
        slowest = max(slowest, time.monotonic() - begun)
    begun = time.monotonic()
    assert endless(server.port, 400_000_000) == 413
    slowest = max(slowest, time.monotonic() - begun)
    more = memory(pid, "VmHWM") - before
    assert more < 64_000_000
    assert slowest < 10, "a bound, not a timing"
    if count > 1:
        soak.record(
            "bombs", f"8 of 8 refused or right, slowest {slowest:.2f} s, at most {more / 1e6:.0f} MB more memory"
        )


HEAD = b"POST /predict HTTP/1.1\r\nhost: a\r\n"
# What three kinds of slow clients send first, and then each second; and the seconds after which they are closed.
SLOW = [(b"", b"", 10), (HEAD, b"a: b\r\n", 10), (HEAD + b"content-length: 4000\r\n\r\n", b"x", 30)]


async def closed_after(port: int, first: bytes, then: bytes) -> float:
    """The seconds until the server has answered a slow client with 408 and closed."""
    begun, said, heard = time.monotonic(), b"", b"nothing yet"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    with suppress(ConnectionResetError):
        while heard:
            try:
                heard = await asyncio.wait_for(reader.read(65536), 1)
                said += heard
            except TimeoutError:
                writer.write(then)
    assert said.startswith(b"HTTP/1.1 408 ")
    writer.close()
    return time.monotonic() - begun


async def slow_crowd(port: int, *, seconds: float) -> list[list[float]]:
    """200 clients of each kind at a time, for so long: after how many seconds each was closed."""
    took: list[list[float]] = [[] for _ in SLOW]
    until = time.monotonic() + seconds

    async def keep(kind: int) -> None:
        first, then, deadline = SLOW[kind]
        while time.monotonic() < until - deadline:
            took[kind].append(await closed_after(port, first, then))

    await asyncio.gather(*(keep(kind) for kind in range(len(SLOW)) for _ in range(200)))
    return took


@pytest.mark.soak
def test_six_hundred_slow_clients_are_each_closed_in_time(folder: Path, requests: list[Request]) -> None:
    server = start(folder)

    async def both() -> tuple[list[list[float]], Seen]:
        fast = crowd(server.port, requests, clients=1, seconds=120)
        return await asyncio.gather(slow_crowd(server.port, seconds=120), fast)

    idle = asyncio.run(crowd(server.port, requests, clients=1, seconds=20))
    took, good = asyncio.run(both())
    end(server)
    for each, (_, _, deadline) in zip(took, SLOW, strict=True):
        assert deadline - 1 < min(each), "closed by the server, and not before"
        assert max(each) < deadline + 2
    assert (good.wrong, good.lost, set(good.statuses)) == (0, 0, {200})
    assert good.p(0.99) <= 2 * idle.p(0.99), (good.p(0.99), idle.p(0.99))
    worst = ", ".join(f"{max(each):.1f}" for each in took)
    counts = ", ".join(f"{len(each)}" for each in took)
    soak.record(
        "slow_clients",
        f"600 at a time for 120 s: silent, slow head and slow body closed after at most {worst} s (n = {counts}); "
        f"a good client's p99 {1000 * good.p(0.99):.1f} ms meanwhile, {1000 * idle.p(0.99):.1f} ms alone before",
    )


@length(2, 60)
def test_many_clients_get_right_answers(server: Server, requests: list[Request], count: int) -> None:
    told = []
    for clients in (1, 8, 32, 128):
        seen = asyncio.run(crowd(server.port, requests, clients=clients, seconds=count))
        assert (seen.wrong, seen.lost, set(seen.statuses) - {200, 503}) == (0, 0, set())
        told.append(f"{clients}: {seen.statuses[200] / count:.0f} a second, {seen.statuses[503]} of 503")
    if count > 10:
        soak.record("many_clients", f"{count} s each, 0 wrong, 0 lost; clients: {'; '.join(told)}")


def tell(process: subprocess.Popen[bytes], told: list[float]) -> None:
    """Tell a server to stop, and note when."""
    told.append(time.monotonic())
    process.terminate()


@length(3, 50)
def test_told_to_stop_under_load_it_loses_no_request(folder: Path, requests: list[Request], count: int) -> None:
    chance, answered, latest = random.Random(0), 0, 0.0
    for turn in range(count):
        server = start(folder)
        assert server.process
        told: list[float] = []
        threading.Timer(chance.uniform(0.05, 1), tell, (server.process, told)).start()
        seen = asyncio.run(crowd(server.port, requests, clients=16, seconds=20, anew=turn % 2 == 0))
        assert server.process.wait(10) == 0
        latest = max(latest, time.monotonic() - told[0])
        end(server)
        assert (seen.lost, seen.wrong, set(seen.statuses)) == (0, 0, {200}), f"turn {turn}"
        answered += seen.statuses[200]
    assert latest < 8, "a bound, not a timing"
    if count > 10:
        soak.record(
            "told_to_stop_under_load",
            f"{count} of {count} ends, {answered} requests of 16 clients, every other time each on a new connection, "
            f"0 lost, gone {latest:.1f} s after SIGTERM at most",
        )


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_schemathesis_finds_no_answer_beyond_the_openapi_document(server: Server, tmp_path: Path) -> None:
    count = 2000
    variables = reference.environment() | {"SCHEMATHESIS_HOOKS": "tests.serving.schemathesis_hooks"}
    words = [sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{server.port}/openapi.json"]
    words += ["--max-examples", str(count), "--seed", "0", "--phases", "examples,coverage,fuzzing", "--no-color"]
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stdout[-5000:]
    cases = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert cases
    soak.record("schemathesis", f"{cases[1]} cases, at most {count} an operation and phase, no failure")
