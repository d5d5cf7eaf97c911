"""The artifact that a command makes, and its server: in the image that partners get, or without an engine."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from samebench.host import builds, image, local, process, project, server
from samebench.host.call import Call
from samebench.host.engine import Engine, User
from samebench.host.errors import UsageError
from samebench.host.image import Image

SERVER = ("python", "-m", "samebench.serving")
LIMITS = ("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "128", "--read-only")


def make(call: Call, engine: Engine | None, command: Sequence[str]) -> str:
    """Have a command make the artifact, in the runtime that was chosen; the folder that its last line begins with.

    Without an engine we are in the runtime already. Raises UsageError for a platform that can't be had.
    """
    platform = call.get("PLATFORM")
    if platform not in {"", *image.PLATFORMS}:
        raise UsageError(f"PLATFORM={platform}: give linux/amd64 or linux/arm64, or nothing for this machine's")
    words, variables = list(command), dict(call.variables)
    if engine:
        if engine.is_local and platform:
            remedy = "use docker or podman"
            raise UsageError(f"PLATFORM={platform}: the local runtime has only this machine's; {remedy}")
        words = image.host_words("--carry", *command)
        variables.update(SAMEBENCH_QUIET="1", CHECK="", RUNTIME=engine.name)
    code, text = process.output(words, environment=variables)
    if code:
        raise SystemExit(code)
    last = (text.splitlines() or [""])[-1]
    print(last, file=sys.stderr, flush=True)
    return last.partition(": ")[0] if ": " in last else ""


def serve(call: Call, service: int, port: int, engine: Engine | None, command: Sequence[str]) -> int:
    """Make the artifact, then serve it on `port`: by the project's image, or without one where there is no engine."""
    project.name(call)  # refuses before anything is made
    artifact = make(call, engine, command)
    call = call._replace(artifact=artifact, variables={**call.variables, "ARTIFACT": artifact})
    if engine is None:
        variables = {key: value for key, value in call.variables.items() if key != "SAMEBENCH_PUBLISHED"}
        process.exec_program(SERVER, variables)
    if engine.is_local:
        local.run(call, SERVER)
    server_image = builds.ensure(Image.of_server(call, artifact), call, engine)
    words = ["--init", *User.current().engine_words(engine), *LIMITS, *image.platform_words(server_image)]
    words += [word for each in ("API_KEY", "KEEP_ALIVE", "WORKERS") if call.get(each) for word in ("--env", each)]
    words += ["--env", f"SAMEBENCH_IMAGE={engine.digest(server_image.name)}", server_image.name]
    return server.serve(call, engine, words, service=service, port=port)
