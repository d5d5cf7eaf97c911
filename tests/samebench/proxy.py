"""A reverse proxy as a team puts it before its servers: one path, websockets, the name that the browser asked for."""

import http.client
import select
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


@dataclass
class Proxy:
    """A proxy that listens on loopback, and the name by which browsers ask for it."""

    port: int
    name: str

    def ask(self, path: str, **headers: str) -> int:
        """The status of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Host": self.name, **headers})
            return connection.getresponse().status
        finally:
            connection.close()


class Handler(socketserver.BaseRequestHandler):
    """Hands one request on, and everything that follows it both ways."""

    prefix: ClassVar[str]
    upstream: ClassVar[int]

    def handle(self) -> None:
        """Read the head of the request, then pass bytes on until one side has ended."""
        head = b""
        while b"\r\n\r\n" not in head:
            if not (more := self.request.recv(65536)):
                return
            head += more
        if not head.split()[1].decode().startswith(self.prefix):
            self.request.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        if b"upgrade: websocket" not in head.lower():  # nginx says so, too, to what it asks
            head = head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        with socket.create_connection(("127.0.0.1", self.upstream)) as server:
            server.sendall(head)
            pass_on(self.request, server)


def pass_on(client: socket.socket, server: socket.socket) -> None:
    """Bytes both ways, until one side has ended."""
    other = {client: server, server: client}
    while True:
        for side in select.select([client, server], [], [])[0]:
            if not (content := side.recv(65536)):
                return
            other[side].sendall(content)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection, of which none keeps the tests from ending."""

    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def proxied(prefix: str, port: int, *, name: str) -> Iterator[Proxy]:
    """A proxy that hands paths below `prefix` to the server at `port`."""
    handler = type("Handler", (Handler,), {"prefix": prefix, "upstream": port})
    with Server(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Proxy(running.server_address[1], name)
        running.shutdown()
