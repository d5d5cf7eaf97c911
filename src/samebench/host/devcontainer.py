"""What an editor's client finds before it opens a devcontainer: image, variables, a worktree's configuration."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from samebench.host import builds, dotenv, options, repository
from samebench.host.call import Call
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError
from samebench.host.files import make_writable
from samebench.host.image import Image
from samebench.host.process import print_message, succeeds

HOME = Path(".devcontainer")
FILE = "devcontainer.json"


def prepare(call: Call, engine: Engine) -> int:
    """The image of this checkout under the name that the configuration has, built if it is not there, and its files."""
    make_writable(".samebench")
    dotenv.write_env_file(Path(".samebench/devcontainer.env"), call.variables, options.read().env)
    if mounts := repository.mounts():
        _write_with_repository(call.flavour, mounts)
    image = builds.ensure(Image.of_workspace(call), call, engine)
    if not succeeds([engine.name, "tag", image.name, image.latest]):
        raise RequirementError(f"{image.name}: {engine.name} could not name it {image.latest}; try {engine.name} info")
    return 0


def _write_with_repository(flavour: str, mounts: Sequence[str]) -> None:
    """A second configuration for a worktree or a submodule, whose repository lies elsewhere in each.

    The client has read its configuration when it calls us, and knows no mount that only some checkouts have.
    """
    gpu = flavour == "gpu"
    text = (HOME / "gpu" / FILE if gpu else HOME / FILE).read_text()
    path = HOME / f"worktree{'-gpu' if gpu else ''}" / FILE
    for link in (path.parent, path):  # a branch may have one there, to anywhere
        if link.is_symlink():
            link.unlink()
    make_writable(str(path.parent))
    path.write_text(json.dumps(with_repository(text, mounts), indent=2) + "\n")
    print_message(f"this is a worktree or a submodule; the devcontainer of {path} sees its repository")


def with_repository(text: str, mounts: Sequence[str]) -> dict[str, Any]:
    """A configuration with these mounts. Its repository is only read, so nothing is set up in there."""
    configuration: dict[str, Any] = json.loads(re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    configuration["name"] += ", with its repository"
    configuration["runArgs"] += [f"--mount={mount}" for mount in mounts]
    configuration.pop("postCreateCommand", None)
    return configuration
