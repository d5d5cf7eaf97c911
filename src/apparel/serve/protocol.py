"""HTTP on uvicorn with what it lacks: deadlines for each part, a limit for the head, one request at a time."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from apparel.serve.problem import raw

HEAD_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 30.0  # from the whole request to the last byte of the answer that the client has taken
LEAVING_SECONDS = 0.5  # for a request that was sent before its client could hear that we are going
CLOSING_SECONDS = 5.0  # for a client to take what it was told last
HEAD_BYTES = 32_768  # of a head, or of what follows a body
CONNECTIONS = 1_000


class Protocol(HttpToolsProtocol):
    """A connection that is closed when its client is late, and does not listen to the next request before its turn."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Wait for a head; `_part` is what of a request we wait for."""
        super().__init__(*arguments, **named)
        self._part = "head"
        self._unread = 0  # bytes since the last head or the last piece of a body
        self._leaving = self._deaf = False
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def _answering(self) -> bool:
        return self._part == "answer" and self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Turn away who comes when the house is full."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._refuse(503, "too many connections; try again in a second", retry_after=1)
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
        if self._part == "answer":
            self._wait("head", HEAD_SECONDS)
        self._unread += len(data)
        super().data_received(data)
        if self._unread > HEAD_BYTES:
            self._refuse(431, f"a head of more than {HEAD_BYTES} bytes; send fewer or shorter headers")

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client that only listens any more still gets its answer."""
        if self._answering:
            self._stop_listening()
        return self._answering

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn names it so
        """Answer what is no HTTP."""
        self._refuse(400, "not a valid HTTP request")

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before it has no answer yet."""
        if self._answering:
            raise ValueError("the next request came before the answer")  # ends in send_400_response
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """From here on the body is due."""
        self._unread = 0
        if self.parser.should_upgrade() and self.parser.get_method() == b"POST":
            # The parser would take the body for the next request.
            self._refuse(400, "only HTTP/1.1 is spoken here; leave out the header Upgrade")
            return
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
        self._wait("answer", ANSWER_SECONDS)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An idle connection is uvicorn's affair, unless the client has not taken all that we said."""
        if self._part == "answer" and not self.transport.get_write_buffer_size():
            self._wait("answer", None)
        super().on_response_complete()

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

    def _stop_listening(self) -> None:
        self._deaf = True
        self.cycle.keep_alive = False

    def _wait(self, part: str, seconds: float | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._part = part
        self._deadline = self.loop.call_later(seconds, self._late) if seconds else None

    def _late(self) -> None:
        if self._part == "answer" or (self.cycle and self.cycle.response_started and not self.cycle.response_complete):
            self.transport.abort()
        else:
            seconds = HEAD_SECONDS if self._part == "head" else BODY_SECONDS
            self._refuse(408, f"the {self._part} was not here after {seconds:g} s")

    def _refuse(self, status: int, detail: str, *, retry_after: int = 0) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._answering:
            self._stop_listening()
            return
        watch: Any = self.config.app
        watch.refused(status, detail)
        self._deaf = True
        self._wait("nothing", None)
        self.transport.write(raw(status, detail, retry_after=retry_after))
        self.transport.close()
        self.loop.call_later(CLOSING_SECONDS, self.transport.abort)
