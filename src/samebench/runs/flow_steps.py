"""The steps of a project as a picture: what is up to date, what is stale or missing, and what brings it up.

What the steps are is the project's affair: it looks at its files, and reads from stdin what only the host can see
(src/samebench/host/flow.py). Nothing here changes anything but the picture.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TextIO

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.table import align
from samebench.core.text import printable
from samebench.environment import fingerprint

ROOT = fingerprint.ROOT
PICTURE = Path(".samebench/flow.md")
UP, STALE, MISSING, UNKNOWN = "up to date", "stale", "missing", "not known"
ENGINES = {"docker", "podman"}
# Mermaid's style of each state: frames differ by more than colour, which is read on light and on dark ground.
STYLES = {
    UP: "stroke:#1a7f37",
    STALE: "stroke:#bf8700,stroke-width:4px",
    MISSING: "stroke:#0969da,stroke-dasharray:7 4",
    UNKNOWN: "stroke:#768390,stroke-dasharray:2 3",
}


@dataclass(frozen=True)
class Step:
    """One step: its state, in a few words why, and the command that brings it up, if it needs one."""

    name: str
    state: str  # UP, STALE, MISSING or UNKNOWN
    why: str
    command: str = ""
    after: tuple[str, ...] = ()  # the steps that it is made from

    def to_dict(self) -> dict[str, Any]:
        """For machines; `from` is no name that Python would take."""
        facts = asdict(self)
        return {**{name: fact for name, fact in facts.items() if name != "after"}, "from": list(self.after)}


def propagate_stale(steps: Iterable[Step]) -> list[Step]:
    """The same, each after those that it is made from; what is made from something stale is stale, too."""
    by_name: dict[str, Step] = {}
    for step in steps:
        assert all(name in by_name for name in step.after), "a step comes after those that it is made from"
        stale = [name for name in step.after if by_name[name].state == STALE]
        if step.state == UP and stale:
            step = replace(step, state=STALE, why=f"follows from the {stale[0]}")  # noqa: PLW2901 - the same, later
        by_name[step.name] = step
    # What is up to date needs no command, whatever it would be.
    return [replace(step, command="") if step.state == UP else step for step in by_name.values()]


def abbreviate(names: Sequence[str], *, most: int = 1) -> str:
    """The first of these, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


# ---- what the host knows ----


@dataclass(frozen=True)
class Host:
    """Where commands would run, and which images and virtual environments are there; as host/flow.py says."""

    runtime: str = "local"  # docker, podman, local, or here
    flavour: str = "cpu"
    image: str = ""  # the name of this checkout's workspace image
    stamp: str = ""  # of this checkout's virtual environment
    base: str = ""  # BASE_IMAGE
    images: Mapping[str, str] = field(default_factory=dict)  # by name, its id

    @classmethod
    def read(cls, text: str) -> Self:
        """What host/flow.py says, as JSON."""
        return cls(**json.loads(text))

    @property
    def sees_images(self) -> bool:
        """Whether an engine was asked."""
        return self.runtime in ENGINES


def no_engine(host: Host) -> tuple[str, str]:
    """Why images are not looked at, and what would."""
    return ("no engine in here", "make flow, outside") if host.runtime == "here" else ("no engine", "")


def workspace(host: Host) -> Step:
    """The image or virtual environment that commands run in, held against what this checkout makes it from."""
    gpu = " GPU=1" if host.flavour == "gpu" else ""
    if host.sees_images:
        state, why = _image(host)
        return Step("workspace", state, why, f"make build{gpu}")
    if host.runtime == "here" and sys.prefix == fingerprint.IMAGE:
        changed = _changed_since_build()
        why = f"changed: {abbreviate(changed)}" if changed else "this image, from these locks"
        return Step("workspace", STALE if changed else UP, why, f"make build{gpu}, outside")
    state, why = _venv(host)
    return Step("workspace", state, why, f"make shell{gpu}")


def _image(host: Host) -> tuple[str, str]:
    if host.image in host.images:
        return UP, f"{host.image}, {host.runtime}"
    if f"samebench:{host.flavour}" not in host.images:
        return MISSING, f"no {host.flavour} image yet, {host.runtime}"
    return STALE, f"changed: {abbreviate(_changed_since_build()) or 'the base image, or what sets it up'}"


def _changed_since_build() -> list[str]:
    """Which inputs of the image that we are in have changed in the checkout since; not all of them are told."""
    reference = fingerprint.image_fingerprint()
    then = reference["same"]["input"] if reference else {}
    return [name for name, sha256 in then.items() if not _has(ROOT / name, sha256)]


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and files.digest(path) == sha256


def _venv(host: Host) -> tuple[str, str]:
    folder = Path(sys.prefix) if host.runtime == "here" else ROOT / (".venv-gpu" if host.flavour == "gpu" else ".venv")
    stamp = folder / "samebench.stamp"
    if not (folder / "bin/python").exists():
        return MISSING, f"no {folder.name} yet"
    actual_stamp = stamp.read_text().strip() if stamp.is_file() else ""
    if actual_stamp == host.stamp:
        return UP, f"{folder.name}, from these locks"
    here = actual_stamp.split(" ")[0] == host.stamp.split(" ")[0]
    return STALE, f"{folder.name} is {'of another checkout' if here else 'of other locks, or unfinished'}"


def server_image_name(folder: Path, host: Host) -> str:
    """What the host calls the server's image that would be made of the artifact in `folder`."""
    words = [sys.executable, "-I", str(ROOT / "src/samebench/host"), "--name", str(folder.absolute())]
    variables = {**os.environ, "GPU": "", "PLATFORM": "", "BASE_IMAGE": host.base}
    return subprocess.run(words, env=variables, check=True, capture_output=True, text=True).stdout.strip()


# ---- how it is shown ----


def table(steps: Sequence[Step]) -> str:
    """One line a step."""
    return "\n".join(align([(step.name, step.state, step.why, step.command) for step in steps]))


def mermaid(steps: Sequence[Step]) -> str:
    """The steps as a Mermaid block of Markdown, which GitHub and JupyterLab draw."""
    classes = {state: f"c{number}" for number, state in enumerate(STYLES)}
    nodes = {step.name: f"s{number}" for number, step in enumerate(steps)}
    lines = ["```mermaid", "flowchart TD", *(f"  classDef {classes[state]} {style}" for state, style in STYLES.items())]
    for step in steps:
        label = "<br>".join(map(_escape, filter(None, (f"{step.name}: {step.state}", step.why, step.command))))
        lines.append(f'  {nodes[step.name]}["{label}"]:::{classes[step.state]}')
        lines += [f"  {nodes[name]} --> {nodes[step.name]}" for name in step.after]
    return "\n".join([*lines, "```", ""])


def _escape(text: str) -> str:
    """The text as Mermaid takes it in a label, whatever is in it: most signs as entities."""
    return "".join(sign if sign.isalnum() or sign in " .,:=/~_-" else f"#{ord(sign)};" for sign in text)


def show(steps: Sequence[Step], *, as_json: bool, to: Path = PICTURE) -> None:
    """Print them, and draw them into the file `to`; nothing that a receipt says can steer a terminal."""
    steps = [replace(step, why=printable(step.why), command=printable(step.command)) for step in steps]
    if as_json:
        print(json.dumps({"steps": [step.to_dict() for step in steps], "picture": str(to)}, indent=1))
    else:
        print(table(steps), flush=True)
    to.parent.mkdir(exist_ok=True)
    files.write(to, mermaid(steps).encode())
    if not as_json:
        print(f"drawn in {to}")


def host(stdin: TextIO) -> Host:
    """What is told on stdin. Raises UsageError where nobody tells anything."""
    if stdin.isatty():
        raise UsageError("nobody tells what the host knows; start it by make flow")
    return Host.read(stdin.read())
