"""uvicorn's server, which says where it is, gives memory back, and leaves without losing a request."""

import asyncio
import ctypes
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import uvicorn

from samebench import service

GRACE_SECONDS = 5  # for requests that are under way when we are told to stop
M_MMAP_THRESHOLD = -3  # of glibc's malloc.h
LARGE = 1 << 20  # bytes
SO_ATTACH_FILTER = 26  # of Linux' asm-generic/socket.h


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
            refuse_newcomers(listener)
        await asyncio.sleep(0.1)
        await super().shutdown(sockets)


def refuse_newcomers(listener: Any) -> None:
    """Drop what comes to a listening socket, so that its queue can be emptied before it is closed.

    A connection that is still in the queue then would be reset, with the request that its client has sent already. The
    filter is one instruction of classic BPF: return 0, keep nothing. Where the system has or allows no filters, a few
    requests on new connections may be lost in that moment.
    """
    if sys.platform != "linux":
        return
    instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    program = struct.pack("HL", 1, ctypes.addressof(instruction))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def return_large_blocks() -> None:
    """Have glibc give each large block back to the system when it is freed, as it does only as long as it is young.

    Left to itself it raises its threshold, and the memory of the largest pictures stays ours for ever.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
