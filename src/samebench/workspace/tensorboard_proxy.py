"""TensorBoard on runs/ inside JupyterLab: /tensorboard/ on JupyterLab's own port, behind its token.

An extension of Jupyter's server, which `make notebook` switches on. TensorBoard's own server needs a port of its own,
and a container publishes JupyterLab's alone. It is loaded when it is first asked for.
"""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from types import SimpleNamespace
from typing import Any

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.serverapp import ServerApp
from jupyter_server.utils import url_path_join
from tornado import web
from tornado.httputil import HTTPServerRequest
from tornado.wsgi import WSGIContainer

from samebench.core import local_server
from samebench.workspace.tensorboard import FLAGS

PLACE = "tensorboard"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Reply = tuple[int, list[tuple[str, str]], bytes]


@cache
def application(prefix: str) -> Application:
    """TensorBoard's pages, at paths below `prefix`; from then on it looks for news every few seconds."""
    from tensorboard import default, program  # noqa: PLC0415 - a second, which a lab without it need not take

    applications: list[Application] = []

    def capture(application: Application, _flags: object) -> SimpleNamespace:
        applications.append(application)
        return SimpleNamespace(serve_forever=lambda: None, get_url=str)  # Jupyter serves

    board = program.TensorBoard(plugins=default.get_plugins(), server_class=capture)
    board.configure([PLACE, "--logdir", str(local_server.checkout() / "runs"), "--path_prefix", prefix, *FLAGS])
    board.launch()
    return applications[0]


def respond(prefix: str, request: HTTPServerRequest) -> Reply:
    """What TensorBoard answers: status, headers and content."""
    parts: list[Any] = []
    wsgi = application(prefix)
    content = wsgi(WSGIContainer(wsgi).environ(request), lambda *words: parts.extend(words))
    body = b"".join(content)
    if close := getattr(content, "close", None):
        close()
    status, headers = parts[:2]
    return int(status.split()[0]), headers, body


class Board(JupyterHandler):
    """Hands requests on to TensorBoard, one after the other and beside Jupyter's own work."""

    worker = ThreadPoolExecutor(1, PLACE)

    @web.authenticated
    async def get(self, _path: str | None) -> None:
        """Answer as TensorBoard does."""
        await self.answer()

    @web.authenticated
    async def post(self, _path: str | None) -> None:
        """The same: so TensorBoard's page asks for many curves at once."""
        await self.answer()

    async def answer(self) -> None:
        """Hand on what TensorBoard says; no other site's pages may show it inside."""
        prefix = url_path_join(self.base_url, PLACE)
        loop = asyncio.get_running_loop()
        status, headers, body = await loop.run_in_executor(self.worker, respond, prefix, self.request)
        self.set_status(status)
        for name, value in headers:
            if name == "Content-Security-Policy":
                self.set_header(name, f"{value};frame-ancestors 'self'")
            elif name != "Content-Length":
                self.set_header(name, value)
        self.finish(body)

    def check_xsrf_cookie(self) -> None:
        """TensorBoard's page knows nothing of Jupyter's cookie.

        A header of its own does as well: no page of another origin may send one without asking us, and we don't allow.
        """
        if not self.request.headers.get("X-XSRF-Protected"):
            super().check_xsrf_cookie()


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """What Jupyter's server calls."""
    rule = (url_path_join(server.base_url, f"{PLACE}(/.*)?"), Board)
    server.web_app.add_handlers(".*", [rule])  # type: ignore[no-untyped-call]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """What Jupyter's server asks first."""
    return [{"module": __name__}]
