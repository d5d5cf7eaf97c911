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

from samebench.core import command, local_server

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
    if local_server.asks_for_health(arguments):
        return local_server.health(FOLDER)
    address, port, published = local_server.address(PORT)
    path = f"/{local_server.secret()}"
    page = f"http://{local_server.LOOPBACK}:{port}{path}/"
    words = [
        sys.executable, "-W", "ignore", "-c", BOARD, "--logdir", str(local_server.checkout() / "runs"),
        "--host", address, "--port", str(port), *FLAGS,
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix=FOLDER, dir=local_server.short_folder()) as folder:

        def announce() -> str:
            local_server.write_ready(Path(folder), page)
            return f"TensorBoard: http://{local_server.LOOPBACK}:{published}{path}/   (Ctrl-C ends it)"

        return local_server.serve(
            words,
            environment=os.environ | {"SAMEBENCH_PATH": path},
            ready=lambda: local_server.answer(page, seconds=1) == 200,
            announce=announce,
        )


if __name__ == "__main__":
    command.run(main)
