"""Errors as RFC 9457 has them: application/problem+json."""

import json
from http import HTTPStatus

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):  # noqa: N818 - the RFC's own name
    """An answer of 4xx or 5xx that explains itself."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        """Take the status, one line for the client, and further headers (`retry_after` for Retry-After)."""
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class EarlyRejection(Problem):
    """A problem of a request that is still being sent."""


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
