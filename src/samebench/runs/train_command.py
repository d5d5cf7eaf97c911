"""The `make train` commands that messages print: with every word that they need where they are copied into a shell.

Needs no torch: `make flow` prints them where nothing is installed.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import command, flags, make_command
from samebench.data.source import Source, default_name

RUNTIMES = {"docker", "podman", "local"}


def make_resume_command(directory: Path, receipt: Mapping[str, Any]) -> str:
    """The command that goes on with the run in `directory`. Its settings are in the run.

    A container sees what lies outside of the checkout only where a word names it.
    """
    settings = receipt.get("settings", {})
    has_weights = any((directory / "checkpoints").glob("*.safetensors"))
    places = {"DATA": settings.get("data"), "INIT": None if has_weights else settings.get("init")}
    words = [make_command.variable("RESUME", directory)]
    words += [make_command.variable(name, place) for name, place in places.items() if _is_absolute(place)]
    return make_command.make("train", *_gpu(receipt), *words, *_runtime(receipt), *_processes(receipt))


def make_start_command(receipt: Mapping[str, Any], settings: Mapping[str, Any], *, init: Path) -> str:
    """The command that starts a new run from the weights at `init`, with these settings, where this run was trained."""
    other = _non_defaults(settings)
    other.pop("init", None)
    words = [*_gpu(receipt), make_command.variable("INIT", init), *_words(receipt, other), *_runtime(receipt)]
    arguments = make_command.arguments(flags.to_flags(project.settings_class(), other))
    return make_command.make("train", *words, *_processes(receipt), arguments)


def make_retrain_command(receipt: Mapping[str, Any]) -> str:
    """The command that trains once more with the settings of this run."""
    other = _non_defaults(receipt.get("settings", {}))
    data = Source.of(str(other.pop("data", default_name()))).make_words()
    words = [data, *_gpu(receipt), *_words(receipt, other)]
    return make_command.make("train", *words, make_command.arguments(flags.to_flags(project.settings_class(), other)))


def _non_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not as they would be unasked, without those of other code."""
    defaults = flags.defaults(project.settings_class())
    return {name: value for name, value in settings.items() if name in defaults and value != defaults[name]}


def _words(receipt: Mapping[str, Any], settings: dict[str, Any]) -> list[str]:
    """The variables for some of `settings`, which are taken out."""
    if receipt.get("device") == "cuda":
        settings.pop("device", None)
    words = ["FAST=1"] if settings.pop("fast", False) is True else []
    if _is_absolute(settings.get("data")):
        words.append(make_command.variable("DATA", settings.pop("data")))
    return words


def _gpu(receipt: Mapping[str, Any]) -> list[str]:
    """That it needs a GPU, where it does: those that this process was told to take, or any."""
    if receipt.get("device") != "cuda":
        return []
    gpus = os.environ.get("GPU", "")
    return [make_command.variable("GPU", gpus if gpus not in {"", "0"} else 1)]


def _runtime(receipt: Mapping[str, Any]) -> list[str]:
    runtime = receipt.get("environment", {}).get("runtime")
    return [f"RUNTIME={runtime}"] if runtime in RUNTIMES else []


def _processes(receipt: Mapping[str, Any]) -> list[str]:
    """How its processes were asked for: as this process was, or else as many as the receipt tells of."""
    processes = receipt.get("processes", {})
    count, machines = processes.get("count", 1), processes.get("machines", 1)
    launch = os.environ.get(command.LAUNCH, "") or (f"PROCS={count // machines}" if count > 1 else "")
    return [launch] if launch else []


def _is_absolute(place: object) -> bool:
    return isinstance(place, str) and place.startswith("/")
