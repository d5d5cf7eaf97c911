"""Around every request: an id, a line in the log, counts, and headers that keep browsers careful."""

import json
import logging
import re
import secrets
import sys
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samebench.serving.metrics import Metrics

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
HEADERS = [
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
LIMIT_SECONDS = 1.0  # between two lines about a limit
CLIENT_CLOSED_REQUEST = 499  # in log and counts: the client left before its answer


class RequestLoggingMiddleware:
    """An application with somebody who takes notes."""

    def __init__(self, inner: ASGIApp, metrics: Metrics) -> None:
        """Take what answers, and where to count."""
        self.inner, self.metrics = inner, metrics
        self.times, self.next_line = 0, 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. It finds its id in its state, and may put `examples` there, how many it had."""
        started = time.perf_counter()
        identity = request_id(scope)
        scope["state"] = {"request": identity, "examples": 0}
        status = CLIENT_CLOSED_REQUEST

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS, (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self.inner(scope, receive, noted)
        finally:
            seconds = time.perf_counter() - started
            self.metrics.request(scope["path"], status, seconds)
            if (scope["path"], status) != (
                "/health",
                200,
            ):  # the image asks it every few seconds
                request_fields = {"method": scope["method"], "path": scope["path"][:200]}
                examples = scope["state"]["examples"]
                log(**request_fields, request=identity, status=status, ms=round(1000 * seconds, 2), examples=examples)

    def log_refusal(self, status: int, detail: str) -> None:
        """Note an answer to what never became a request, or not in time."""
        self.metrics.count_refusal(status)
        if status == 503:
            self.at_limit(detail)
        else:
            log(request="", status=status, detail=detail)

    def at_limit(self, detail: str) -> None:
        """Log that a limit of connections or files is reached: one line a second, with the count since the last."""
        self.times += 1
        if time.monotonic() >= self.next_line:
            log(request="", detail=detail, times=self.times)
            self.times, self.next_line = 0, time.monotonic() + LIMIT_SECONDS


def request_id(scope: Scope) -> str:
    """The client's X-Request-ID if it is a plain word, else a new one."""
    value: bytes = dict(scope["headers"]).get(b"x-request-id", b"")
    return value.decode() if REQUEST_ID.fullmatch(value) else secrets.token_hex(8)


class JsonLogHandler(logging.Handler):
    """Puts mistakes, ours and the libraries', into the same log: a line of JSON each, with its traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        log(request=getattr(record, "request", ""), error=self.format(record))


def log(**facts: object) -> None:
    """A line of JSON about a request; never anything of a body."""
    sys.stdout.write(json.dumps({"time": round(time.time(), 3), **facts}) + "\n")
    sys.stdout.flush()
