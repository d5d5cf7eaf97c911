"""uvicorn's server, which says where it is, gives memory back, and leaves without losing a request."""

import asyncio
import ctypes
import signal
import socket
import sys
from contextlib import suppress
from typing import Any

import uvicorn

from samebench import service

GRACE_SECONDS = 5  # for requests that are under way when we are told to stop
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 1 << 20  # bytes
IP_MINTTL, IPV6_MINHOPCOUNT = 21, 73  # of Linux' in.h and in6.h


class Server(uvicorn.Server):
    """Runs until it is told to stop."""

    def __init__(self, config: uvicorn.Config, *, link: str) -> None:
        """Take what uvicorn does, and the line that is said once it listens."""
        super().__init__(config)
        self.link = link
        self.told: list[int] = []  # the signals that came before uvicorn listened to them

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; SIGINT, SIGTERM and a closed terminal are told to stop, and nothing else comes of them."""
        return_large_blocks()
        with service.told_to_stop() as self.told:  # uvicorn raises what it was told with once more, when it has done it
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
            super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self.should_exit |= bool(self.told)
        service.tell(self.link)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, see to those who are at the door, then finish what is under way."""
        for listener in (each for server in self.servers for each in server.sockets):
            ask_for_hops(listener, 255)
        await asyncio.sleep(0.1)
        for connection in self.server_state.connections:  # who came in between has inherited it
            ask_for_hops(connection.transport.get_extra_info("socket"), 0)
        await super().shutdown(sockets)


def ask_for_hops(found: Any, hops: int) -> None:
    """Have the system drop what comes to a socket with fewer hops left (its TTL) than these.

    Who connects begins with 64 or so. A listener that asks for 255 therefore gets no new connections, and its queue can
    be emptied: one that is still in there when it is closed would be reset, with the request that its client has sent
    already. Where the system does not know how, a few may be lost so.
    """
    if sys.platform == "linux":
        for option in ((socket.IPPROTO_IP, IP_MINTTL), (socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT)):
            with suppress(OSError):  # one of them is not for this socket
                found.setsockopt(*option, hops)


def return_large_blocks() -> None:
    """Have glibc give each large block back to the system when it is freed, as it does only as long as it is young.

    Left to itself it raises its threshold, and the memory of the largest pictures stays ours for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
