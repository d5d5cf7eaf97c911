"""Errors as RFC 9457 has them: application/problem+json."""

import asyncio
import json
from contextlib import suppress
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MEDIA_TYPE = "application/problem+json"
LINGER_SECONDS = 1.0


class Problem(Exception):  # noqa: N818 - the RFC's own name
    """An answer of 4xx or 5xx that explains itself."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """Take the status, one line for the client, and further headers (`retry_after` for Retry-After)."""
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> Response:
        """What is sent."""
        return Response(content(self.status, self.detail), self.status, self.headers, MEDIA_TYPE)


class EarlyRejection(Problem):
    """A problem of a request that is still being sent."""

    def response(self) -> Response:
        """What is sent, while the client may still be sending."""
        plain = super().response()
        return DrainingResponse(plain.body, plain.status_code, self.headers | {"connection": "close"}, MEDIA_TYPE)


class DrainingResponse(Response):
    """An answer whole at once; then what still comes is thrown away for a moment, so that the client hears it."""

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Answer so, and end the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def content(status: int, detail: str) -> bytes:
    """The body."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps(document).encode()


def raw(status: int, detail: str, *, retry_after: int = 0) -> bytes:
    """A whole answer, for where there is no request to answer to; the connection ends with it."""
    body = content(status, detail)
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        "connection: close",
        *([f"retry-after: {retry_after}"] if retry_after else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
