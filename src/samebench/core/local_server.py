"""A server on loopback behind a secret, that says where it is once it answers and leaves nothing when it ends.

What `make notebook` and `make tensorboard` have in common. In a container the runtime publishes our port on the host's
loopback and says on which (SAMEBENCH_PUBLISHED); elsewhere we look for a free one ourselves.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from samebench.core.command import RequirementError, UsageError
from samebench.host import ports

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"  # noqa: S104 - inside a container, whose port is published on loopback
READY_SECONDS = 90
STOP_SECONDS = 4  # an engine kills after 5
LONGEST_FOLDER = 32  # bytes
READY = "ready.json"  # in a server's own temporary folder once it is ready: what to ask for its health


def address(default_port: int) -> tuple[str, int, int]:
    """Where to listen, and the port that a browser on this machine asks: (address, port, port in the link).

    `PORT`, or `default_port`, is taken if it is free, and else the next free one.
    """
    if published := os.environ.get("SAMEBENCH_PUBLISHED"):
        return EVERYWHERE, default_port, int(published)
    first = read_port(default_port)
    for port in range(first, min(first + 50, 65536)):
        if is_free(port):
            if port != first:
                print(f"samebench: port {first} is taken, using {port}", file=sys.stderr)
            return LOOPBACK, port, port
    raise RequirementError(f"PORT={first}: taken, and so are the 49 after it; give another with PORT=")


def read_port(default: int) -> int:
    """`PORT` from the environment. Raises UsageError where it is none."""
    return ports.parse(os.environ.get("PORT", ""), default)


def secret() -> str:
    """256 new bits from the operating system, as text that an address can carry."""
    return secrets.token_urlsafe(32)


def is_free(port: int) -> bool:
    """Whether a server could listen on loopback at `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answer(url: str, *, headers: Mapping[str, str] | None = None, seconds: float = 5) -> int:
    """The status code that `url` answers with; 0 where nothing answers in time."""
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - always our own http address
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy has no business on loopback
    try:
        with direct.open(request, timeout=seconds) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def asks_for_health(arguments: Sequence[str]) -> bool:
    """Whether a server's command line asks for its health. Raises UsageError for anything else but nothing."""
    if arguments and list(arguments) != ["--health"]:
        raise UsageError(f"{' '.join(arguments)}: give --health, or nothing")
    return bool(arguments)


def write_ready(folder: Path, url: str, *, headers: Mapping[str, str] | None = None) -> None:
    """Leaves what `health` asks in a server's folder, where only this user can read it."""
    path = folder / READY
    path.touch(mode=0o600)
    path.write_text(json.dumps({"url": url, "headers": dict(headers or {})}))


def short_folder() -> str:
    """The folder for a server's own: TMPDIR, or /tmp where its path leaves no room for a kernel's sockets in there.

    A socket's path has at most 103 bytes on macOS and 107 on Linux (unix(7), zmq_ipc(7)), of which a kernel's own name
    takes up to 71. Raises RequirementError where there is no such folder.
    """
    for folder in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - in there each server makes a folder that is its own
        if len(os.fsencode(folder)) <= LONGEST_FOLDER and os.access(folder, os.W_OK):
            return folder
    remedy = f"set TMPDIR to a folder with a path of at most {LONGEST_FOLDER} characters"
    raise RequirementError(f"TMPDIR={tempfile.gettempdir()}: too long for the sockets of kernels; {remedy}")


def health(prefix: str) -> int:
    """0 if a server of this user, whose folder's name begins with `prefix`, is ready and answers within 4 s, else 1."""
    for path in Path(short_folder()).glob(f"{prefix}*/{READY}"):
        if answer(**json.loads(path.read_text()), seconds=4) == 200:
            return 0
    return 1


def serve(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    ready: Callable[[], bool],
    announce: Callable[[], str],
) -> int:
    """Runs the server `command` until it ends or is told to; its exit code, 0 when it was told to.

    `ready` is asked until it says yes; then `announce` gives the link, which is printed, and opened if `OPEN=1`.
    Raises RequirementError where the server ends before it answers, or does not answer in time.
    """
    with stop_signals() as stop:
        # In a session of its own: Ctrl-C reaches us alone, and we end it as `docker stop` would.
        server = subprocess.Popen(command, env=dict(environment), start_new_session=True)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not ready() and server.poll() is None and not stop:
                if time.monotonic() > deadline:
                    raise RequirementError(
                        f"{command[0]} did not answer within {READY_SECONDS} s; its messages are above"
                    )
                time.sleep(0.05)
            if server.poll() is not None and not stop:
                raise RequirementError(f"the server ended with code {server.returncode} before it answered; see above")
            if not stop:
                print_link(announce())
            while server.poll() is None and not stop:
                time.sleep(0.1)
        finally:
            code = terminate(server)
    return 0 if stop else code


def print_link(link: str) -> None:
    """Prints the link; opens it where the user asked for that and we can."""
    print(link, flush=True)
    if os.environ.get("OPEN") == "1" and not os.environ.get("SAMEBENCH_PUBLISHED"):
        webbrowser.open(link.split()[1])


def terminate(server: subprocess.Popen[bytes]) -> int:
    """Ends the server and all it started; what doesn't go by itself is killed. Its exit code."""
    if server.poll() is None:
        server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    return server.returncode


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """The signals that told us to stop: SIGINT, SIGTERM, and a closed terminal's, which nohup keeps from us.

    No threading.Event: its lock may be held by the very thread that the signal interrupts.
    """
    stop: list[int] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN else []
    before = {number: signal.signal(number, lambda each, _: stop.append(each)) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def checkout() -> Path:
    """The root of the checkout: the folder that a server shows."""
    return Path(__file__).resolve().parents[3]
