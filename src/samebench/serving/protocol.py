"""HTTP on uvicorn with what it lacks: deadlines, limits of heads and connections, one request at a time."""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from samebench.serving.problem import raw

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 30.0  # from the whole request to the last byte of the answer that the client has taken
LEAVING_SECONDS = 0.5  # for a request that was sent before its client could hear that we are going
CLOSING_SECONDS = 5.0  # for a client to take what it was told last
HEAD_BYTES = 32_768  # of a head, or of what follows a body
CONNECTIONS = 1_000  # or fewer: uvicorn's `limit_concurrency`, from the limit of open files
REFUSED = 8  # connections beyond it whose clients may end their request and hear that they are refused
REFUSED_SECONDS = 1.0
SILENT_SECONDS = 2.0  # after which a connection without a whole head makes room for others at that limit


class Protocol(HttpToolsProtocol):
    """A connection that is closed when its client is late, and does not listen to the next request before its turn."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Wait for a head; `part` is what of a request we wait for, "idle" between two requests."""
        super().__init__(*arguments, **named)
        self.part, self.since = "head", self.loop.time()
        self._most_connections = min(CONNECTIONS, self.limit_concurrency or CONNECTIONS)
        self.limit_concurrency = None  # uvicorn's own refusal comes too late and is no problem+json
        self._unread = 0  # bytes since the last head or the last piece of a body
        self._leaving = self._deaf = False
        self._deadline = float("inf")  # in the loop's time
        self._timer: asyncio.TimerHandle | None = None  # due then or earlier: most parts end long before

    @property
    def _answering(self) -> bool:
        return self.part == "answer" and self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room at the limit of connections, or refuse this one."""
        super().connection_made(transport)
        beyond = len(self.connections) - self._most_connections
        if beyond > 0 and not self._make_room():
            self._refuse(503, "too many connections; try again in a second", retry_after=1, linger=beyond <= REFUSED)
        else:
            self._wait("head", HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._wait("nothing", None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what comes, unless an answer is due first: who does not wait for it gets that one and no other."""
        if self._deaf or self.transport.is_closing():
            return
        if self._answering:
            self._stop_listening()
            return
        if self.part in {"answer", "idle"}:
            self._wait("head", HEAD_SECONDS)
        self._unread += len(data)
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self._refuse(400, "not a valid HTTP request")
        if self._unread > HEAD_BYTES:
            self._refuse(431, f"a head of more than {HEAD_BYTES} bytes; send fewer or shorter headers")

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            if self.parser.get_method() != b"CONNECT":
                head = self._head_without_upgrade()
                self.parser = httptools.HttpRequestParser(self)
                self.parser.feed_data(head + data[offer.args[0] :])

    def _head_without_upgrade(self) -> bytes:
        """The head once more, without the offer of another protocol, which a server may ignore (RFC 9110, 7.8).

        httptools takes no body after such an offer; it would take the body for the next request.
        """
        target = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        lines = [b"%s: %s" % header for header in self.headers if header[0] not in {b"connection", b"upgrade"}]
        options = b",".join(value for name, value in self.headers if name == b"connection").split(b",")
        others = [option.strip() for option in options if option.strip().lower() != b"upgrade"]
        return b"\r\n".join([target, *lines, b"connection: " + b", ".join(others), b"", b""])

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that only listens any more still gets its answer."""
        if self._answering:
            self._stop_listening()
        return self._answering

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before it has no answer yet."""
        if self._answering:
            raise ValueError("the next request came before the answer")  # ends as an HttpParserError
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header without the spaces around it; a trailer, which comes after the body, is no header."""
        if self.part == "head":
            super().on_header(name, value.strip(b" \t"))

    def on_headers_complete(self) -> None:
        """From here on the body is due."""
        self._unread = 0
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            return  # the head comes once more without the offer: see _parse
        if not self.url.startswith(b"/") and (absolute := httptools.parse_url(self.url)).path is None:
            self.url = b"/?" + (absolute.query or b"")  # http://host is http://host/
        self._wait("body", BODY_SECONDS)
        super().on_headers_complete()
        if self._leaving:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """From here on it is our turn, and then the client's to take the answer."""
        if self.part == "head":
            return  # an offer of another protocol: see _parse
        self._wait("answer", ANSWER_SECONDS)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on the connection is idle, unless the client has not taken all that we said."""
        if self.part == "answer" and not self.transport.get_write_buffer_size():
            self._wait("idle", self.timeout_keep_alive)
        self.server_state.total_requests += 1  # the rest is uvicorn's without its timer and without pipelining
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """Answer what is under way, or on its way, and then go."""
        self._leaving = True
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(LEAVING_SECONDS, self._leave)
        else:
            super().shutdown()

    def _leave(self) -> None:
        if not self._unread and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()

    def closable(self, deadline: float) -> bool:
        """Whether it is idle between two requests, or waits for a whole head since before the loop's time `late`."""
        waits = self.part == "idle" or (self.part == "head" and self.since < deadline)
        return waits and not self.transport.is_closing()

    def _make_room(self) -> bool:
        """Close the connection that is idle for longest, else one that is late with its head; whether there was one."""
        deadline = self.loop.time() - SILENT_SECONDS
        closable = (each for each in self.connections if isinstance(each, Protocol) and each.closable(deadline))
        oldest = min(closable, key=lambda each: (each.part != "idle", each.since), default=None)
        if oldest is None:
            return False
        app: Any = self.config.app
        app.at_limit(f"{self._most_connections} connections, the limit: those that are idle for longest are closed")
        oldest.transport.close()
        return True

    def _stop_listening(self) -> None:
        self._deaf = True
        self.cycle.keep_alive = False

    def _wait(self, part: str, seconds: float | None) -> None:
        self.part, self.since = part, self.loop.time()
        self._deadline = self.since + (seconds or float("inf"))
        if self._timer and (seconds is None or self._deadline < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if seconds and not self._timer:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self.loop.time() < self._deadline:
            self._timer = self.loop.call_at(self._deadline, self._on_timer)
        else:
            self._on_timeout()

    def _on_timeout(self) -> None:
        if self.part == "answer" and self.cycle.response_complete and not self.transport.get_write_buffer_size():
            self._wait("idle", self.timeout_keep_alive)  # the client has taken the answer meanwhile
        elif self.part == "idle":
            self.transport.close()
        elif self.part == "answer" or (self.cycle and self.cycle.response_started and not self.cycle.response_complete):
            self.transport.abort()
        else:
            seconds = HEAD_SECONDS if self.part == "head" else BODY_SECONDS
            self._refuse(408, f"the {self.part} was not here after {seconds:g} s")

    def _refuse(self, status: int, detail: str, *, retry_after: int = 0, linger: bool = False) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._answering:
            self._stop_listening()
            return
        app: Any = self.config.app
        app.log_refusal(status, detail)
        self._deaf = True
        self._wait("nothing", None)
        self.transport.write(raw(status, detail, retry_after=retry_after))
        if linger:  # closed before its client has sent all, it would be reset and the answer lost
            self.transport.write_eof()
            self.loop.call_later(REFUSED_SECONDS, self.transport.close)
        else:
            self.transport.close()
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)
