"""A command in the runtime that `RUNTIME=` asks for."""

from __future__ import annotations

from collections.abc import Sequence

from samebench.host import engine, gpu, local
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import UsageError
from samebench.host.files import make_writable
from samebench.host.process import print_message


def choose(call: Call) -> Engine:
    """The runtime; one line says which, and why."""
    found = engine.choose(call.get("RUNTIME"))
    if not call.quiet:
        print_message(f"runtime: {found.name} ({found.reason})")
    return found


def run(call: Call, command: Sequence[str]) -> int:
    """The exit code of a command; in the local runtime this process becomes it."""
    if not command or command[0].startswith("--"):
        raise UsageError("usage: python3 -I src/samebench/host COMMAND…")
    found = choose(call)
    if call.gpus:
        gpu.check(call.variables, found)
    if not call.as_is:
        make_writable("data", "runs")  # made here, so that no engine makes them as root
    if found.is_local and not call.bootstrap:
        return local.run(call, command)
    from samebench.host import bootstrap, container  # noqa: PLC0415 - 30 ms that the local runtime need not pay

    if found.is_local:
        return bootstrap.run(command, local.install_environment(call))
    inside = ["python3", "-I", "src/samebench/host", "--inside", *command] if call.bootstrap else command
    return container.run(call, found, inside)
