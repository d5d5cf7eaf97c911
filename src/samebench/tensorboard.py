"""Starts TensorBoard on runs/ and prints a link that works: `make tensorboard`.

TensorBoard has no password. It is served under a path that nobody can guess, made anew for each start.
"""

import os
import sys
from collections.abc import Sequence

from samebench import command, service
from samebench.command import Refusal

PORT = 6006

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
    """The command line; it takes no arguments."""
    if arguments:
        raise Refusal(f"{' '.join(arguments)}: takes no arguments")
    address, port, published = service.address(PORT)
    path = f"/{service.secret()}"
    words = [
        sys.executable, "-W", "ignore", "-c", BOARD, "--logdir", str(service.checkout() / "runs"),
        "--host", address, "--port", str(port), "--load_fast", "false",
    ]  # fmt: skip
    return service.serve(
        words,
        environment=os.environ | {"SAMEBENCH_PATH": path},
        ready=lambda: service.answer(f"http://{service.LOOPBACK}:{port}{path}/", seconds=1) == 200,
        announce=lambda: f"TensorBoard: http://{service.LOOPBACK}:{published}{path}/   (Ctrl-C ends it)",
    )


if __name__ == "__main__":
    command.run(main)
