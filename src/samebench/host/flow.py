"""`make flow`: the steps from data to bundle. The host's part: which runtime there is, which images and environments.

What the steps are is the affair of the project's module, which gets that on stdin as JSON. It needs no more than
Python, so the host's will do where nothing is set up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from samebench.host import image, local
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError
from samebench.host.image import Image
from samebench.host.process import output_of, run_with_stdin

HERE = "here"  # we are in the runtime already


def show(call: Call, engine: Engine | None, module: str, words: Sequence[str]) -> int:
    """The exit code of the project's module."""
    workspace = Image.of_workspace(call)
    images = _images(engine)
    facts = {
        "runtime": engine.name if engine else HERE,
        "flavour": call.flavour,
        "image": workspace.name,
        "stamp": local.stamp(call.flavour),
        "base": call.get("BASE_IMAGE"),
        "images": images,
    }
    command = ["-m", module, *words, *(["--json"] if call.get("JSON") else [])]
    start, variables = ["python", *command], dict(call.variables)
    if engine:
        ready = os.access(f"{local.link_name(call.flavour)}/bin/python", os.X_OK)
        if not engine.is_local:
            ready = workspace.name in images or workspace.latest in images
        if ready:
            start = image.host_words("--as-is", "python", *command)
            variables["RUNTIME"] = engine.name
        else:
            start = [_any_python(), *command]
            variables.update(PYTHONPATH="src", PYTHONDONTWRITEBYTECODE="1")
    return run_with_stdin(start, json.dumps(facts).encode(), environment=variables)


def _images(engine: Engine | None) -> dict[str, str]:
    """The id of each image that there is, by its name."""
    if engine is None or engine.is_local:
        return {}
    lines = output_of([engine.name, "images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"])
    pairs = [line.split(" ", 1) for line in lines.splitlines() if " " in line]
    return {_without_host(name): identity for name, identity in pairs}


def _without_host(name: str) -> str:
    return name.removeprefix("localhost/")


def _any_python() -> str:
    python = local.find_python()
    if not os.access(python, os.X_OK) or not Path(python).is_file():
        what = f"make flow: nothing is set up yet that could draw, and there is no Python {python}"
        raise RequirementError(f"{what}; make build")
    return python
