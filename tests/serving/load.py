"""Clients of a server, many at once, and what they saw."""

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Seen:
    """What the clients of one load saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0  # answers of 200 with another category than expected
    lost: int = 0  # whole requests on an open connection that got no whole answer
    seconds: list[float] = field(default_factory=list)

    def p(self, share: float) -> float:
        """The seconds that this share of the answers took at most."""
        return statistics.quantiles(self.seconds, n=1000, method="inclusive")[round(1000 * share) - 1]


@dataclass(frozen=True)
class Request:
    """A picture, and the category that is right."""

    content: bytes
    category: str

    def raw(self) -> bytes:
        head = f"POST /predict HTTP/1.1\r\nhost: a\r\ncontent-type: image/png\r\ncontent-length: {len(self.content)}"
        return head.encode() + b"\r\n\r\n" + self.content


async def answer_on(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """The next answer on a connection: status, body, and whether the connection goes on."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(length), b"connection: close" not in lines


async def client(port: int, requests: Sequence[Request], seen: Seen, until: float, *, anew: bool) -> None:
    """Asks one after the other, on one connection or each on its own, until the time has come or nobody listens."""
    reader = writer = None
    turn = 0
    while time.monotonic() < until:
        try:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return
        assert reader
        request = requests[turn % len(requests)]
        turn += 1
        begun = time.monotonic()
        try:
            writer.write(request.raw())
            await writer.drain()
            status, body, goes_on = await answer_on(reader)
        except (OSError, asyncio.IncompleteReadError):
            seen.lost += 1
            writer.close()
            writer = None
            continue
        seen.seconds.append(time.monotonic() - begun)
        seen.statuses[status] += 1
        if status == 200:
            seen.wrong += request.category.encode() not in body[:60]
        if anew or not goes_on:
            writer.close()
            writer = None
    if writer:
        writer.close()


async def crowd(port: int, requests: list[Request], *, clients: int, seconds: float, anew: bool = False) -> Seen:
    """So many clients at once, each for so long."""
    seen, until = Seen(), time.monotonic() + seconds
    await asyncio.gather(
        *(client(port, requests[index:] + requests[:index], seen, until, anew=anew) for index in range(clients))
    )
    return seen


def memory(pid: int, name: str = "VmRSS") -> int:
    """Bytes that a process holds, or `VmHWM`: the most it has held since `forget`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def forget(pid: int) -> None:
    """Begin to count VmHWM anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
