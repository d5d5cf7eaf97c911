"""The server's settings, from environment variables: what a partner can turn without building anew."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from samebench.core import local_server
from samebench.core.command import RequirementError, UsageError

PORT = 8000
LOOPBACK = {local_server.LOOPBACK, "localhost"}
WORDS = "without-a-key"
KEEP_ALIVE = 620  # seconds: longer than proxies keep an idle connection, of which Google Cloud's have the longest, 600
LONGEST_KEEP_ALIVE = 86_400
MOST_WORKERS = 32  # with 3 threads each they are within the 128 that an engine allows: see host/artifact.py


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the artifact is, where to listen, and who may ask."""

    artifact: Path
    host: str
    port: int
    api_key: str
    without_key: bool  # others than this machine may ask without a key: said in words, not by leaving something out
    keep_alive: int  # seconds after which a connection between two requests is closed
    workers: int  # processes that answer
    published: bool  # by an engine, on its host's loopback alone
    image: str | None  # the engine's id of the image that we run in, where whoever started it has told us

    @classmethod
    def read(cls) -> Self:
        """Read ARTIFACT, HOST, PORT, API_KEY, SERVE, KEEP_ALIVE, WORKERS. Raises UsageError for an impossible one."""
        key, serve = os.environ.get("API_KEY", ""), os.environ.get("SERVE", "")
        if serve not in {"", WORDS}:
            raise UsageError(f"SERVE={serve}: give {WORDS}, or nothing")
        if not key.isascii() or key != key.strip():
            raise UsageError("API_KEY: has spaces around it or characters beyond ASCII; give another")
        return cls(
            artifact=Path(os.environ.get("ARTIFACT") or "artifact"),
            host=os.environ.get("HOST") or local_server.LOOPBACK,
            port=local_server.read_port(PORT),
            api_key=key,
            without_key=serve == WORDS,
            keep_alive=_keep_alive(os.environ.get("KEEP_ALIVE") or str(KEEP_ALIVE)),
            workers=_workers(os.environ.get("WORKERS") or "1"),
            published=bool(os.environ.get("SAMEBENCH_PUBLISHED")),
            image=os.environ.get("SAMEBENCH_IMAGE") or None,
        )

    def listen(self) -> tuple[str, int, int]:
        """Address, port, and the port in the link; a taken port is stepped over where only this machine can ask.

        Raises UsageError where others could ask without a key and nobody has said that they may.
        """
        if self.published or self.host in LOOPBACK:
            return local_server.address(PORT)
        if not (self.api_key or self.without_key):
            raise UsageError(f"HOST={self.host}: others could ask without a key; set API_KEY, or SERVE={WORDS}")
        return self.host, self.port, self.port

    def url(self, port: int) -> str:
        """The address at which this machine reaches the server."""
        if self.published or self.host in {*LOOPBACK, local_server.EVERYWHERE}:
            return f"http://{local_server.LOOPBACK}:{port}"
        host = "::1" if self.host == "::" else self.host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _keep_alive(value: str) -> int:
    if not (value.isdecimal() and 1 <= int(value[:9]) <= LONGEST_KEEP_ALIVE):
        raise UsageError(f"KEEP_ALIVE={value}: give seconds from 1 to {LONGEST_KEEP_ALIVE}")
    return int(value)


def _workers(value: str) -> int:
    if not (value.isdecimal() and 1 <= int(value[:9]) <= MOST_WORKERS):
        raise UsageError(f"WORKERS={value}: give a number from 1 to {MOST_WORKERS}, at most one for each core")
    if int(value) > 1 and sys.platform != "linux":
        raise RequirementError(f"WORKERS={value}: this system deals no connections out to several; take 1, or Linux")
    return int(value)
