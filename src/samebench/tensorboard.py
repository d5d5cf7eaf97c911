"""Starts TensorBoard on runs/ and prints a link that works: `make tensorboard`.

TensorBoard has no password. It is served under a path that nobody can guess, made anew for each start.
"""

import os
import secrets
import sys
from collections.abc import Sequence

from samebench import command, service
from samebench.command import Refusal

PORT = 6006


def main(arguments: Sequence[str]) -> int:
    """The command line; it takes no arguments."""
    if arguments:
        raise Refusal(f"{' '.join(arguments)}: takes no arguments")
    address, port, published = service.address(PORT)
    path = f"/{secrets.token_urlsafe(32)}"
    words = [
        sys.executable, "-W", "ignore", "-m", "tensorboard.main", "--logdir", str(service.checkout() / "runs"),
        "--host", address, "--port", str(port), "--path_prefix", path, "--load_fast", "false", "--verbosity", "-1",
    ]  # fmt: skip
    return service.serve(
        words,
        environment=os.environ,
        ready=lambda: service.answer(f"http://{service.LOOPBACK}:{port}{path}/", seconds=1) == 200,
        announce=lambda: f"TensorBoard: http://{service.LOOPBACK}:{published}{path}/   (Ctrl-C ends it)",
    )


if __name__ == "__main__":
    command.run(main)
