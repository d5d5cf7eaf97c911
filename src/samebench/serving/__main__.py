"""Serve an artifact: the page, POST /predict, GET /health, GET /metrics, GET /openapi.json.

    ARTIFACT=runs/20261123-201500-abcd/artifact python -m samebench.serving
    python -m samebench.serving verify    exit code 0 if the image is as it was built: what is installed and set in it,
                                          the artifact's hash, and its answers
    python -m samebench.serving --health  exit code 0 if the one on this machine is ready

Settings are environment variables: see server_settings.py.
"""

import logging
import sys
from collections.abc import Sequence

from samebench.core import command, local_server
from samebench.core.command import UsageError
from samebench.serving.server_settings import Environment


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    environment = Environment.read()
    if arguments == ["--health"]:
        well = local_server.answer(f"{environment.url(environment.port)}/health", seconds=4) == 200
        return command.DONE if well else command.NO
    if arguments == ["verify"]:
        return verify(environment)
    if arguments:
        raise UsageError(f"{' '.join(arguments)}: give verify or --health, or nothing")
    return serve(environment)


def verify(environment: Environment) -> int:
    """What an image can tell of itself: that its parts are whole, and that its model answers as when it was made."""
    from samebench.environment import fingerprint as installed  # noqa: PLC0415
    from samebench.serving.artifact import Artifact  # noqa: PLC0415 - --health need not pay for it

    if built := installed.image_fingerprint():
        now = installed.fingerprint()
        for line in installed.differences(built, now, called=("at its build", "now")):
            print(f"not as it was built: {line}")
        if now["sha256"] != built["sha256"]:
            return command.NO
        print(f"{sys.prefix}: as it was built, fingerprint {now['sha256']}")
    artifact = Artifact.load(environment.artifact)  # against its hash
    artifact.check()
    print(f"{environment.artifact}: answers right, run {artifact.facts['run']}, sha256 {artifact.sha256}")
    return command.DONE


def serve(environment: Environment) -> int:
    """Serve until told to stop; then finish what is under way."""
    import uvicorn  # noqa: PLC0415 - --health need not pay for it

    from samebench.serving.application import Application  # noqa: PLC0415
    from samebench.serving.artifact import Artifact  # noqa: PLC0415
    from samebench.serving.protocol import CONNECTIONS, Protocol  # noqa: PLC0415
    from samebench.serving.request_log import JsonLogHandler, RequestLoggingMiddleware  # noqa: PLC0415
    from samebench.serving.server import (  # noqa: PLC0415
        ACCEPTS,
        GRACE_SECONDS,
        Server,
        connection_limit,
        listener,
        listeners,
    )
    from samebench.serving.workers import run_workers  # noqa: PLC0415

    logging.basicConfig(handlers=[JsonLogHandler()], level=logging.ERROR)  # requests have their own lines
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it asks this on every connection
    workers = environment.workers
    artifact = Artifact.load(environment.artifact)
    answering = Application(artifact, api_key=environment.api_key, image=environment.image, workers=workers)
    address, port, published = environment.listen()
    connections = connection_limit(CONNECTIONS)
    sockets = [listener(address, port)] if workers == 1 else listeners(address, port, workers)
    config = uvicorn.Config(
        RequestLoggingMiddleware(answering, answering.metrics),
        http=Protocol,
        backlog=ACCEPTS,
        limit_concurrency=connections,
        timeout_keep_alive=environment.keep_alive,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    link = f"Page: {environment.url(published)}/   (Ctrl-C ends it)"

    def run(worker: int) -> None:
        for place, each in enumerate(sockets):
            if place != worker:
                each.close()
        Server(config, link=link if worker == 0 else "", ready=lambda: answering.join(worker)).run([sockets[worker]])

    try:
        if workers > 1:
            return run_workers(workers, run, sockets)
        run(0)
    finally:
        answering.close()
    return command.DONE


if __name__ == "__main__":
    command.run(main)
