"""Runs a command in the runtime: docker, podman, or the local virtual environment.

    python3 -I src/samebench/host COMMAND…    prepares the runtime if need be, then runs COMMAND in it

--carry COMMAND…
    The same for a command that carries data: it may use the SSH agent, where a remote of .dvc/config or DATA_REMOTE= is
    reached over SSH.
--as-is COMMAND…
    The same for a command that only looks: in the image or virtual environment that is there, if of another state of
    the checkout. Where there is none, code 3.
--ready COMMAND…
    The same for git, which calls often: in the runtime that is ready, and without a word.
--bootstrap COMMAND…, --inside COMMAND…
    The same for what writes the locks, and so must not need this checkout's image or virtual environment: by
    bootstrap.py, in any image that is there, else in the first layers of it; --inside where we are in one.
--serve PORT COMMAND…
    The same for a server: publishes its PORT on the host's loopback, and leaves no container when it ends.
    `COMMAND --health` says how it is.
--serve-image PORT COMMAND…
    Runs COMMAND, whose last line begins with a folder, and serves that on PORT; where there is an engine, in an image
    PROJECT-serve that is made of it, for PLATFORM if given.
--ship COMMAND…
    The same, but makes of that image what a partner gets: ship.py.
--build
    Builds the image and says what it is. With CHECK=1 twice from nothing, and compares; with EXPECT= a digest, or a
    fingerprint of a teammate's, too.
--push
    Carries the image to the team's registry, of TO= or pyproject.toml: registry.py.
--check
    Only checks that the runtime has what GPU= asks for.
--devcontainer
    The image of this checkout under the name samebench:cpu or samebench:gpu, built if it is not there, and .env as a
    file for the engine.
--flow MODULE ARG…
    Runs the module that only looks, and gives it what the host alone can see: flow.py.
--doctor, --hooks
    doctor.py, hooks.py.
--name [FOLDER]
    Says what the workspace's image would be called, or the server's image of the artifact in FOLDER.
--test-engine ARG…
    Where the runtime is an engine: runs the tests that drive it from outside.

Honoured: PROJECT RUNTIME GPU CUDA_VISIBLE_DEVICES ELSEWHERE DATA DATA_REMOTE FROM INIT RESUME RUN WITH NOTE PORT OPEN
PLATFORM KEY CHECK EXPECT JSON AGENT BASE_IMAGE CA_CERT WHEELHOUSE PIP_INDEX_URL TORCH_INDEX, proxies,
container.LAUNCH; .env, and what .dvc/config says of where versions of the data are.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from samebench.host import runtime
from samebench.host.call import Call
from samebench.host.errors import CommandError
from samebench.host.process import print_message

ROOT = Path(__file__).resolve().parents[3]


def start(arguments: Sequence[str]) -> NoReturn:
    """Run the command line in the checkout; end with its exit code, or with one line and the code of the refusal."""
    _open_standard_files()
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except CommandError as error:
        print_message(str(error))
        code = error.code
    except KeyboardInterrupt:  # as a shell ends: whoever called us sees that it was Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        if error.filename is None:
            raise
        print_message(
            f"{error.filename}: {error.strerror}; see that it is there and yours, then the same command again"
        )
        code = 3
    sys.exit(code)


def _open_standard_files() -> None:
    """Give what is closed (`>&-`) a place, so that no file that is opened later takes its number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # noqa: PERF203 - three of them
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def _dispatch(arguments: Sequence[str]) -> int:
    option, rest = (arguments[0] if arguments else ""), list(arguments[1:])
    if option == "--commit":  # git calls it, in the checkout; we may be its copy in .git
        from samebench.host import hooks  # noqa: PLC0415 - what each command needs, and no more: a start is waited for

        return hooks.commit()
    os.chdir(ROOT)
    if option == "--doctor":  # which says itself what of these variables is wrong
        from samebench.host import doctor  # noqa: PLC0415 - the same

        return doctor.examine(os.environ)
    call = Call.of(os.environ)
    call.check_ca_cert()
    if option == "--carry":
        return runtime.run(call._replace(carries_data=True), rest)
    if option == "--as-is":
        return runtime.run(call._replace(as_is=True, quiet=True, gpus=""), rest)
    if option == "--bootstrap":
        return runtime.run(call._replace(bootstrap=True, gpus=""), rest)
    if option.startswith("--"):
        from samebench.host import commands  # noqa: PLC0415 - the same

        if option in commands.COMMANDS:
            return commands.COMMANDS[option](call, rest)
    return runtime.run(call, arguments)
