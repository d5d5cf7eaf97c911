"""What the host does beside running a command: each option of main.py that is one of these."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from samebench.host import (
    artifact,
    bootstrap,
    builds,
    container,
    devcontainer,
    engine,
    flow,
    gpu,
    hooks,
    local,
    ports,
    registry,
    runtime,
    ship,
)
from samebench.host.call import Call
from samebench.host.errors import RequirementError, UsageError
from samebench.host.files import make_writable
from samebench.host.image import Image
from samebench.host.process import print_message

FLAVOURS = {"cpu": "", "gpu": "1"}  # and the GPU= that asks for each


def _inside(call: Call, rest: list[str]) -> int:
    """A command that needs no lock, where we are in an image, or `make shell`, already."""
    return bootstrap.run(rest, call.variables)


def _ready(call: Call, command: list[str]) -> int:
    """What starts soonest of what needs no setting up, for git; where nothing is ready, `auto` decides as ever."""
    call = call._replace(quiet=True, gpus="")
    if call.get("RUNTIME") in {"", "auto"}:
        for flavour in FLAVOURS:
            if local.is_stamped(Path(local.link_name(flavour)), flavour):
                return local.run(call, command, flavour=flavour)
        for name in engine.VERSIONS:
            for flavour, gpu in FLAVOURS.items():
                flavour_call = call._replace(variables={**call.variables, "GPU": gpu})
                if engine.Engine(name).has(Image.of_workspace(flavour_call, flavour).name):
                    return runtime.run(
                        flavour_call._replace(variables={**flavour_call.variables, "RUNTIME": name}), command
                    )
        call = call._replace(variables={**call.variables, "GPU": ""})
    return runtime.run(call, command)


def _build(call: Call, _rest: list[str]) -> int:
    engine_or_local = runtime.choose(call)
    if not call.get("ELSEWHERE"):  # ELSEWHERE=1: the image is for other machines
        gpu.check(call.variables, engine_or_local)
    if engine_or_local.is_local:
        remedy = "install docker or podman, or work without one: RUNTIME=local needs no image"
        raise RequirementError(f"make build: no engine answers; {remedy}")
    return builds.command_build(call, engine_or_local)


def _push(call: Call, _rest: list[str]) -> int:
    engine_or_local = runtime.choose(call)
    if engine_or_local.is_local:
        raise RequirementError("make push: no engine answers, and RUNTIME=local has no image; start docker or podman")
    place = registry.address(call.get("TO"))
    if not place:
        raise UsageError(f"make push: to where? Give TO=registry.example/team/bench, or registry in [{registry.TABLE}]")
    return registry.push(builds.ensure(Image.of_workspace(call), call, engine_or_local), place, engine_or_local)


def _check(call: Call, _rest: list[str]) -> int:
    gpu.check(call.variables, runtime.choose(call))
    return 0


def _devcontainer(call: Call, _rest: list[str]) -> int:
    runtime_name = call.get("RUNTIME")
    asked_for_local = runtime_name == engine.LOCAL  # an editor needs an engine
    variables = {"CHECK": "", "EXPECT": "", "RUNTIME": "" if asked_for_local else runtime_name}
    call = call._replace(variables={**call.variables, **variables})
    engine_or_local = runtime.choose(call)
    if engine_or_local.is_local:
        raise RequirementError("no engine answers, which a devcontainer needs; start docker or podman")
    gpu.check(call.variables, engine_or_local)
    return devcontainer.prepare(call, engine_or_local)


def _serve(call: Call, rest: list[str]) -> int:
    service, command = int(rest[0]), rest[1:]
    port = ports.parse(call.get("PORT"), service)
    engine_or_local = runtime.choose(call)
    gpu.check(call.variables, engine_or_local)
    make_writable("data", "runs", ".samebench")
    if engine_or_local.is_local:
        return local.run(call, command)
    return container.serve(call, engine_or_local, command, service=service, port=port)


def _serve_image(call: Call, rest: list[str]) -> int:
    service, command = int(rest[0]), rest[1:]
    port = ports.parse(call.get("PORT"), service)
    make_writable("data", "runs")
    engine_or_local = None if call.get("SAMEBENCH") else runtime.choose(call)
    return artifact.serve(call, service, port, engine_or_local, command)


def _ship(call: Call, command: list[str]) -> int:
    make_writable("data", "dist", "runs")
    ship.check_host(call)
    return ship.ship(call, runtime.choose(call), command)


def _flow(call: Call, rest: list[str]) -> int:
    call = call._replace(as_is=True, quiet=True, gpus="")
    return flow.show(call, None if call.get("SAMEBENCH") else runtime.choose(call), rest[0], rest[1:])


def _name(call: Call, rest: list[str]) -> int:
    print((Image.of_server(call, *rest) if rest else Image.of_workspace(call)).name)
    return 0


def _test_engine(call: Call, rest: list[str]) -> int:
    engine_or_local = engine.choose(call.get("RUNTIME"))
    if engine_or_local.is_local:
        return 0  # there they were part of the whole
    print_message("the tests that drive the engine run beside it, in the local runtime")
    variables = {**call.variables, "SAMEBENCH_ENGINE": engine_or_local.name}
    return local.run(
        call._replace(variables=variables, gpus=""), ["pytest", *rest], flavour="cpu"
    )  # the GPU is not theirs


COMMANDS: dict[str, Callable[[Call, list[str]], int]] = {
    "--build": _build,
    "--check": _check,
    "--devcontainer": _devcontainer,
    "--flow": _flow,
    "--hooks": lambda call, _rest: hooks.install(call),
    "--inside": _inside,
    "--name": _name,
    "--push": _push,
    "--ready": _ready,
    "--serve": _serve,
    "--serve-image": _serve_image,
    "--ship": _ship,
    "--test-engine": _test_engine,
}
