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
    engine_or_local = engine.choose(call.get("RUNTIME"))
    if not call.quiet:
        print_message(f"runtime: {engine_or_local.name} ({engine_or_local.reason})")
    return engine_or_local


def run(call: Call, command: Sequence[str]) -> int:
    """The exit code of a command; in the local runtime this process becomes it."""
    if not command or command[0].startswith("--"):
        raise UsageError("usage: python3 -I src/samebench/host COMMAND…")
    engine_or_local = choose(call)
    if call.gpus:
        gpu.check(call.variables, engine_or_local)
    if not call.as_is:
        make_writable("data", "runs")  # made here, so that no engine makes them as root
    if engine_or_local.is_local and not call.bootstrap:
        return local.run(call, command)
    from samebench.host import bootstrap, container  # noqa: PLC0415 - 30 ms that the local runtime need not pay

    if engine_or_local.is_local:
        return bootstrap.run(command, local.install_environment(call))
    inside = ["python3", "-I", "src/samebench/host", "--inside", *command] if call.bootstrap else command
    return container.run(call, engine_or_local, inside)
