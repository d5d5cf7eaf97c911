"""The server's settings, from environment variables: what a partner can turn without building anew."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from samebench import service
from samebench.command import Refusal

PORT = 8000
LOOPBACK = {service.LOOPBACK, "localhost"}
WORDS = "without-a-key"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where the artifact is, where to listen, and who may ask."""

    artifact: Path
    host: str
    port: int
    api_key: str
    without_key: bool  # others than this machine may ask without a key: said in words, not by leaving something out
    published: bool  # by an engine, on its host's loopback alone
    image: str | None  # the engine's id of the image that we run in, where whoever started it has told us

    @classmethod
    def read(cls) -> Self:
        """Read ARTIFACT, HOST, PORT, API_KEY and SERVE. Raises Refusal for an impossible one."""
        key, serve = os.environ.get("API_KEY", ""), os.environ.get("SERVE", "")
        if serve not in {"", WORDS}:
            raise Refusal(f"SERVE={serve}: give {WORDS}, or nothing")
        if not key.isascii() or key != key.strip():
            raise Refusal("API_KEY: has spaces around it or characters beyond ASCII; give another")
        return cls(
            artifact=Path(os.environ.get("ARTIFACT") or "artifact"),
            host=os.environ.get("HOST") or service.LOOPBACK,
            port=service.wanted_port(PORT),
            api_key=key,
            without_key=serve == WORDS,
            published=bool(os.environ.get("SAMEBENCH_PUBLISHED")),
            image=os.environ.get("SAMEBENCH_IMAGE") or None,
        )

    def listen(self) -> tuple[str, int, int]:
        """Address, port, and the port in the link; a taken port is stepped over where only this machine can ask.

        Raises Refusal where others could ask without a key and nobody has said that they may.
        """
        if self.published or self.host in LOOPBACK:
            return service.address(PORT)
        if not (self.api_key or self.without_key):
            raise Refusal(f"HOST={self.host}: others could ask without a key; set API_KEY, or SERVE={WORDS}")
        return self.host, self.port, self.port
