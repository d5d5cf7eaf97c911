"""What is sent of a problem."""

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from samebench.serving.problem import MEDIA_TYPE, EarlyRejection, Problem, content

LINGER_SECONDS = 1.0


def problem_response(problem: Problem) -> Response:
    """The response, which the client of an early rejection hears although it is still sending."""
    body = content(problem.status, problem.detail)
    if isinstance(problem, EarlyRejection):
        return DrainingResponse(body, problem.status, problem.headers | {"connection": "close"}, MEDIA_TYPE)
    return Response(body, problem.status, problem.headers, MEDIA_TYPE)


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
