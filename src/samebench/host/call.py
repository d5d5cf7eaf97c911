"""What one call asks for: its variables, and what follows from them for every command."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from samebench.host import gpu
from samebench.host.errors import UsageError

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
LOOPBACK = re.compile(r"^(\w+://)?([^/@]*@)?(localhost|127(\.\d+){3}|\[::1\])(?=[:/]|$)", re.IGNORECASE)
INDEXES = ("TORCH_INDEX", "PIP_INDEX_URL", "UV_DEFAULT_INDEX")


class Call(NamedTuple):
    """The variables of a call, and in which way its command runs."""

    variables: Mapping[str, str]
    gpus: str = ""  # "", "all", or their numbers
    carries_data: bool = False  # the command brings data from the team's remote, or takes it there
    as_is: bool = False  # nothing is built and nothing set up
    bootstrap: bool = False  # Debian's Python alone is needed, and no lock
    quiet: bool = False  # not a word about the runtime
    artifact: str = ""  # the folder that is served
    dotenv: tuple[str, ...] = ()  # the names in .env

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Call:
        """The call that these variables ask for. Raises UsageError."""
        return cls(variables, gpus=gpu.parse(variables), quiet=bool(variables.get("SAMEBENCH_QUIET")))

    def check_ca_cert(self) -> None:
        """Raise UsageError where the file of certificates can't be read."""
        if self.ca_cert and not os.access(self.ca_cert, os.R_OK):
            raise UsageError(f"CA_CERT={self.ca_cert}: no such file")

    def get(self, name: str) -> str:
        """A variable; "" where it is not set."""
        return self.variables.get(name, "")

    @property
    def flavour(self) -> str:
        """The workspace that it runs in: cpu or gpu."""
        return "cpu" if self.get("GPU") in {"", "0"} else "gpu"

    # What the user has set for other tools serves here too, so that `make` alone works behind a proxy or offline.

    @property
    def wheelhouse(self) -> str:
        """A folder of wheels; pip also takes addresses there, which are pip's business."""
        folder = self.get("WHEELHOUSE") or self.get("PIP_FIND_LINKS")
        return folder if os.path.isdir(folder) else ""

    @property
    def ca_cert(self) -> str:
        """A file of certificates."""
        return self.get("CA_CERT") or self.get("SSL_CERT_FILE")

    @property
    def uses_loopback(self) -> bool:
        """Whether an index or a proxy listens on this machine's loopback, which a container has one of its own of."""
        return any(LOOPBACK.search(self.get(name)) for name in (*INDEXES, *PROXIES) if name.lower() != "no_proxy")

    @property
    def has_credentials(self) -> bool:
        """Whether an index or a proxy is given with a password or a token, which must not be shown."""
        return any("@" in self.get(name) for name in (*INDEXES, *PROXIES))
