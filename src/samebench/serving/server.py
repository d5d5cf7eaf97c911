"""uvicorn's server, which says where it is, gives memory back, and leaves without losing a request."""

import asyncio
import ctypes
import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn

from samebench.core import local_server
from samebench.core.command import RequirementError

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD}
GRACE_SECONDS = 5  # for requests that are under way when we are told to stop
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 1 << 20  # bytes
QUEUE = 2048  # connections that the system takes for us until we accept them
ACCEPTS = 4  # connections in one turn of the loop, which counts them two turns later
RESERVED_FILES = 32  # of the limit: for connections that are accepted and not counted yet, and for our own
FEWEST_CONNECTIONS = 4
OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}  # where asyncio pauses accepting for 1 s
IP_MINTTL, IPV6_MINHOPCOUNT = 21, 73  # of Linux' in.h and in6.h


class Server(uvicorn.Server):
    """Runs until it is told to stop."""

    def __init__(self, config: uvicorn.Config, *, link: str = "", ready: Callable[[], None] = lambda: None) -> None:
        """Take what uvicorn does, and, once it listens, what is called in its loop and the line that is said."""
        super().__init__(config)
        self.link, self.ready = link, ready
        self.signals: list[int] = []  # the signals that came before uvicorn listened to them

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve; SIGINT, SIGTERM and a closed terminal are told to stop, and nothing else comes of them."""
        return_large_blocks()
        with local_server.stop_signals() as self.signals:  # uvicorn raises its signal once more at its end
            if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # a worker begins with these blocked
            super().run(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so, unless we were told to stop meanwhile."""
        asyncio.get_running_loop().set_exception_handler(self.note)
        await super().startup(sockets)
        for each in sockets or []:
            each.listen(QUEUE)  # asyncio gives the system's queue the length `ACCEPTS`
        self.ready()
        self.should_exit |= bool(self.signals)
        if self.link and not self.should_exit:
            local_server.print_link(self.link)

    def note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what went wrong in the loop; of connections that can't be accepted one line a second."""
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in OUT_OF_RESOURCES:
            app: Any = self.config.app
            app.at_limit(f"no connection can be accepted: {error.strerror}")
        else:
            loop.default_exception_handler(context)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, see to those who are at the door, then finish what is under way."""
        for listener in (each for server in self.servers for each in server.sockets):
            ask_for_hops(listener, 255)
        await asyncio.sleep(0.1)
        for connection in self.server_state.connections:  # who came in between has inherited it
            ask_for_hops(connection.transport.get_extra_info("socket"), 0)
        await super().shutdown(sockets)


def listeners(address: str, port: int, count: int) -> list[socket.socket]:
    """So many sockets at one port, to which the system deals connections out. Raises RequirementError.

    Sockets that share a port would share it with those of another server, too; a first one alone finds it out.
    """
    listener(address, port).close()
    return [listener(address, port, shared=True) for _ in range(count)]


def listener(address: str, port: int, *, shared: bool = False) -> socket.socket:
    """The socket that listens at `address` and `port`. Raises RequirementError where the system does not allow it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listening = socket.create_server((address, port), family=family, backlog=QUEUE, reuse_port=shared)
    except OSError as error:
        raise RequirementError(f"{address} port {port}: {error.strerror}; give another HOST= or PORT=") from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio does not take this socket for TCP
    return listening


def connection_limit(most: int) -> int:
    """How many connections can be open at once, at most `most`: as many as the limit of open files allows.

    The limit is raised first, as far as the system lets us. Raises RequirementError where it is too low.
    """
    used = os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free
    os.close(used)
    needed = used + RESERVED_FILES + most
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        highest = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(ValueError, OSError):  # macOS has a lower limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            soft = highest
    allowed = most if soft == resource.RLIM_INFINITY else min(most, soft - used - RESERVED_FILES)
    if allowed < FEWEST_CONNECTIONS:
        raise RequirementError(
            f"at most {soft} open files are allowed, too few for a server; first: ulimit -n {needed}"
        )
    return allowed


def ask_for_hops(socket_: Any, hops: int) -> None:
    """Have the system drop what comes to a socket with fewer hops left (its TTL) than these.

    Who connects begins with 64 or so. A listener that asks for 255 therefore gets no new connections, and its queue can
    be emptied: one that is still in there when it is closed would be reset, with the request that its client has sent
    already. Where the system does not know how, a few may be lost so.
    """
    if sys.platform == "linux":
        for option in ((socket.IPPROTO_IP, IP_MINTTL), (socket.IPPROTO_IPV6, IPV6_MINHOPCOUNT)):
            with suppress(OSError):  # one of them is not for this socket
                socket_.setsockopt(*option, hops)


def return_large_blocks() -> None:
    """Have glibc give each large block back to the system when it is freed, as it does only as long as it is young.

    Left to itself it raises its threshold, and the memory of the largest pictures stays ours for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
