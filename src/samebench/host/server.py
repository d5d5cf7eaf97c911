"""A server in a container: started on the first free port, shown, and gone when it ends."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samebench.host import ports
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError
from samebench.host.process import capture, output_of, print_message

TRIES = 50  # ports, one after the other
PORT_IN_USE = ("already allocated", "already in use")
RESERVED = ("Ports are not available", "forbidden by its access permissions", "bind: permission denied")
STOP_SECONDS = 5
INTERRUPTED = 4
BROWSERS = ("xdg-open", "open")


class Stop:
    """What signals ask for: first only noted, and once the server is there passed on to it."""

    def __init__(self) -> None:
        self.requested = False
        self.container = ""
        self.engine = ""
        # A closed terminal sends SIGHUP, and again. What nohup and a script's background keep from us stays so.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: object) -> None:
        first, self.requested = not self.requested, True
        if first and self.container:
            self.stop()

    def stop(self) -> None:
        """End the server as an engine does."""
        capture([self.engine, "stop", "--time", str(STOP_SECONDS), self.container])


def serve(call: Call, engine: Engine, words: Sequence[str], *, service: int, port: int) -> int:
    """The server's exit code. `words` are the engine's options, the image, and a command if not the image's own.

    Raises RequirementError where it can't be started.
    """
    stop = Stop()
    stop.engine = engine.name
    # A chosen token is refused in there, by its name.
    tokens = [word for name in ("JUPYTER_TOKEN", "TOKEN") if name in call.variables for word in ("--env", f"{name}=")]
    with tempfile.TemporaryDirectory(prefix="samebench-") as work:
        container = ""
        try:
            container = _start_container(call, engine, [*tokens, *words], stop, Path(work), service=service, first=port)
            if not container:
                return INTERRUPTED
            stop.container = container
            if stop.requested:
                stop.stop()
            _show(call, engine, container)
            code = output_of([engine.name, "inspect", "--format", "{{.State.ExitCode}}", container])
            return int(code) if code.isdecimal() else RequirementError.code
        finally:
            if container:
                output_of([engine.name, "rm", "--force", container])


def _start_container(
    call: Call, engine: Engine, words: Sequence[str], stop: Stop, work: Path, *, service: int, first: int
) -> str:
    """The container's name; "" where we were asked to stop before it was there."""
    for port in range(first, min(first + TRIES, ports.HIGHEST + 1)):
        identity = work / f"id-{port}"
        options = ["--cidfile", str(identity), "--publish", f"127.0.0.1:{port}:{service}"]
        published = ["--env", f"SAMEBENCH_PUBLISHED={port}"]
        result = capture([engine.name, "run", "--detach", *options, *published, *words], environment=call.variables)
        container = result.stdout.strip()
        if stop.requested or result.returncode:
            identifier = identity.read_text().strip() if identity.exists() else container
            if identifier:
                output_of([engine.name, "rm", "--force", identifier])
        if stop.requested:
            return ""
        if not result.returncode:
            return container
        if any(word in result.stderr for word in PORT_IN_USE):
            print_message(f"port {port} is taken, trying {port + 1}")
        elif any(word in result.stderr for word in RESERVED):
            print_message(f"port {port} is reserved on this machine, trying {port + 1}")
        else:
            raise RequirementError(f"{engine.name} did not start the server: {result.stderr.strip()}")
    raise RequirementError(f"PORT={first}: taken, and so are the {TRIES - 1} after it; give another with PORT=")


def _show(call: Call, engine: Engine, container: str) -> None:
    """Show what the server says, until it ends; its first link is opened if `OPEN=1`."""
    # In a session of its own: Ctrl-C is for us alone, and the last words of the server are still shown.
    logs = subprocess.Popen(
        [engine.name, "logs", "--follow", container],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert logs.stdout
    try:
        with logs.stdout as lines:
            for line in lines:
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
                if link := re.search(rb"http://127\.0\.0\.1\S*", line) if call.get("OPEN") == "1" else None:
                    _open(link[0].decode(errors="replace"))
    finally:
        logs.terminate()
        logs.wait()


def _open(link: str) -> None:
    for browser in BROWSERS:
        if shutil.which(browser):
            quiet = subprocess.DEVNULL
            subprocess.Popen([browser, link], stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
            return
    print_message("OPEN=1: no browser can be opened from here; the link is above")
