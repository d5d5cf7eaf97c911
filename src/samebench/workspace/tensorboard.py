"""Starts TensorBoard on runs/ and prints a link that works: `make tensorboard`.

    python -m samebench.workspace.tensorboard              until Ctrl-C
    python -m samebench.workspace.tensorboard --health     exit code 0 if the one in this container is well

TensorBoard has no password. It is served under a path that nobody can guess, made anew for each start.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebench.core import command, service

PORT = 6006
# No server of its own for reading; every picture that a run keeps.
FLAGS = ("--load_fast", "false", "--samples_per_plugin", "images=50")
FOLDER = "tensorboard-"  # how the name of its own temporary folder begins

# TensorBoard without its own lines on TensorFlow and on where it is, and with the path from the environment: every user
# of a machine can read a command line.
BOARD = """
import os, sys, threading
from tensorboard import default, program
board = program.TensorBoard(plugins=default.get_plugins())
board.configure([*sys.argv, "--path_prefix", os.environ["SAMEBENCH_PATH"]])
board.launch()
threading.Event().wait()
"""


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    if service.asks_for_health(arguments):
        return service.health(FOLDER)
    address, port, published = service.address(PORT)
    path = f"/{service.secret()}"
    page = f"http://{service.LOOPBACK}:{port}{path}/"
    words = [
        sys.executable, "-W", "ignore", "-c", BOARD, "--logdir", str(service.checkout() / "runs"),
        "--host", address, "--port", str(port), *FLAGS,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=service.short_folder()) as folder:

        def announce() -> str:
            service.write_ready(Path(folder), page)
            return f"TensorBoard: http://{service.LOOPBACK}:{published}{path}/   (Ctrl-C ends it)"

        return service.serve(
            words,
            environment=os.environ | {"SAMEBENCH_PATH": path},
            ready=lambda: service.answer(page, seconds=1) == 200,
            announce=announce,
        )


if __name__ == "__main__":
    command.run(main)
