"""Writes every lock from `pyproject.toml`: `make lock`.

One resolution serves all: what both workspaces share goes to `requirements.lock`. What only CUDA needs goes to
`docker/gpu.lock`, with torch and the packages that are compiled against it in their builds for CUDA. `docker/cpu.lock`
has the CPU builds of the same packages (torch_builds.py). So the two workspaces can't drift apart. What the server
needs is in the workspaces too, and `docker/serve.lock` is that part alone, in the same versions. `tests/reference.lock`
is what the server's tests and benchmarks put on top. `src/samebench/data/versions.lock` is DVC's, which
shares nothing with any of them.

Runs on Python's standard library and uv alone (src/samebench/host/bootstrap.py), as the locks may be what is broken.
"""

import hashlib
import json
import os
import re
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from samebench.core import command
from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.core.text import without_credentials
from samebench.environment import torch_builds

SHARED, CPU, GPU = "requirements.lock", "docker/cpu.lock", "docker/gpu.lock"
SERVE, REFERENCE, VERSIONS = "docker/serve.lock", "tests/reference.lock", "src/samebench/data/versions.lock"
WORKSPACE = (SHARED, GPU, REFERENCE)  # what these pin stays, for all of them together

# uv's name of a platform -> the marker that selects it. Linux comes first: its versions bind the others.
PLATFORMS = {
    "x86_64-manylinux_2_28": "sys_platform == 'linux' and platform_machine == 'x86_64'",
    "aarch64-manylinux_2_28": "sys_platform == 'linux' and platform_machine == 'aarch64'",
    "aarch64-apple-darwin": "sys_platform == 'darwin' and platform_machine == 'arm64'",
}
LINUX, ARM, MAC = PLATFORMS

# A requirement as it stands in a lock: "name==version" and its sorted hashes.
Pin = tuple[str, tuple[str, ...]]
Pins = dict[str, Pin]


class Resolution(NamedTuple):
    """Every package of one platform, and for each the names of those that need it; "" stands for the project."""

    pins: Pins
    dependents: Mapping[str, set[str]]

    def without(self, removed: Iterable[str]) -> set[str]:
        """The names that the project needs in any case, if those `removed` and all that only they need are gone."""
        without_dependents = set(removed)
        reached: set[str] = set()
        while added := {
            name
            for name, dependents in self.dependents.items()
            if name not in reached | without_dependents and dependents & {"", *reached}
        }:
            reached |= added
        return reached


def declared_requirements(root: Path = ROOT) -> tuple[str, list[str], dict[str, list[str]], str]:
    """The Python version (major.minor), all requirements, the groups and the cut-off date of `pyproject.toml`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    python = project["project"]["requires-python"].removeprefix("==").removesuffix(".*")
    groups = {name: sorted(group) for name, group in project["dependency-groups"].items()}
    requirements = sorted({*project["project"]["dependencies"], *groups["serve"]})
    return python, requirements, groups, project["tool"]["uv"]["exclude-newer"]


def digest_of_declared(root: Path = ROOT) -> str:
    """SHA-256 over what the locks are made from; each lock carries it, so a forgotten `make lock` shows."""
    return hashlib.sha256(json.dumps(declared_requirements(root)).encode()).hexdigest()


def parse(lock: str) -> list[Pin]:
    """The pins in a lock's text, in its order."""
    lines = lock.replace("\\\n", " ").splitlines()
    matches = [(re.match(r"[\w.-]+={2,3}[^\s;]+", line), re.findall(r"sha256:[0-9a-f]{64}", line)) for line in lines]
    return [(name[0], tuple(sorted(hashes))) for name, hashes in matches if name]


def parse_dependents(lock: str) -> dict[str, set[str]]:
    """The names that need each package, by uv's notes in a lock's text; "" stands for the project itself."""
    dependents: dict[str, set[str]] = {}
    name = ""
    for line in lock.splitlines():
        if pin := re.match(r"([\w.-]+)={2,3}", line):
            name = pin[1]
        elif note := re.match(r" +# via (.*)", line):
            words = [word for word in note[1].split(", ") if not word.startswith("-c ")]
            dependents[name] = {"" if word.startswith("-r ") else word for word in words}
    return dependents


def resolve(
    platform: str, *, python: str, requirements: list[str], bound: Pins, packages: tuple[str, ...] = WORKSPACE
) -> Resolution:
    """Every package that `requirements` need on `platform`: as in `bound`, else as the locks pin it, else the newest.

    Raises:
        UsageError: there is no solution, or the package index does not answer; with uv's own words.
    """
    with tempfile.TemporaryDirectory() as directory:
        requirements_file, bounds, lock_file = (
            Path(directory, name) for name in ("asked.in", "bounds.in", "found.lock")
        )
        requirements_file.write_text("\n".join(requirements))
        lock_file.write_text("\n".join(current_pins(packages)))  # uv prefers what stands in its output already
        bounds.write_text("\n".join(pin for pin, _ in bound.values()))
        words = ["uv", "pip", "compile", "--quiet", "--no-header", "--annotation-style", "line", "--generate-hashes"]
        words += ["--only-binary", ":all:", "--python-version", python, "--python-platform", platform]
        result = subprocess.run(
            [*words, "--constraint", bounds, "--output-file", lock_file, requirements_file],
            cwd=ROOT, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        if result.returncode:
            raise UsageError(f"no lock for {platform}, nothing was changed: {uv_message(result.stderr)}")
        text = lock_file.read_text()
        return Resolution({pin.split("=")[0]: (pin, hashes) for pin, hashes in parse(text)}, parse_dependents(text))


def uv_message(stderr: str) -> str:
    """What uv has said, in one line and without credentials; with a remedy where it has none."""
    line = without_credentials(" ".join(stderr.split()))
    if "no usable wheels" in line or "no wheels with a matching" in line:
        line += " (only wheels are locked, as building a source package runs its code: take a version that has wheels)"
    if "no publish time" in line:
        line += " (exclude-newer needs an index that tells upload times, as PEP 700 asks: name one in PIP_INDEX_URL)"
    return line


def current_pins(names: tuple[str, ...] = WORKSPACE) -> list[str]:
    """The pins of these locks, as long as they were written for today's cut-off date: moving it takes newer versions.

    So a package that is added changes no other, and a mirror that lags behind changes none.
    """
    texts = [(ROOT / name).read_text() for name in names if (ROOT / name).is_file()]
    current = [text for text in texts if text.splitlines()[0].endswith(cutoff_text())]
    return [pin.replace("===", "==") for text in current for pin, _ in parse(text)]


def cutoff_text() -> str:
    """What ends a lock's first line."""
    return f"as of {declared_requirements()[3]}"


def resolve_for_platforms(
    requirements: list[str], *, python: str, packages: tuple[str, ...] = WORKSPACE
) -> tuple[dict[str, Resolution], Pins]:
    """Every package that `requirements` need, by platform and all together: of each the same version everywhere."""
    resolutions: dict[str, Resolution] = {}
    bound: Pins = {}
    for platform in PLATFORMS:
        resolution = resolve(platform, python=python, requirements=requirements, bound=bound, packages=packages)
        resolutions[platform], bound = resolution, resolution.pins | bound
    return resolutions, bound


def platform_marker(name: str, resolutions: Mapping[str, Resolution]) -> str:
    """The marker of the platforms that have this package; none where all have it."""
    platforms = [marker for platform, marker in PLATFORMS.items() if name in resolutions[platform].pins]
    return "" if len(platforms) == len(PLATFORMS) else " or ".join(platforms)


def on_linux(requirements: list[str], *, python: str, bound: Pins) -> Pins:
    """Every package that `requirements` need on Linux, on either architecture."""
    both = [resolve(platform, python=python, requirements=requirements, bound=bound).pins for platform in (LINUX, ARM)]
    return both[1] | both[0]


def environment() -> dict[str, str]:
    """Our variables without those that would make one person's lock differ from another's."""
    personal = {"UV_FIND_LINKS", "UV_EXCLUDE_NEWER", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_PRERELEASE", "UV_NO_INDEX"}
    variables = {name: value for name, value in os.environ.items() if name not in personal}
    if index := variables.get("PIP_INDEX_URL"):
        variables.setdefault("UV_DEFAULT_INDEX", index)
    # torch's wheels ask for macOS 14; uv assumes an older one.
    return variables | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}


def cpu_build(pin: str, *, python: str, needed_by: Iterable[str] = ()) -> Pin:
    """The CPU build of `pin` for Linux: from the lock if it has that version, else from where torch's builds are.

    Raises UsageError or RequirementError as `torch_builds.cpu_build` does.
    """
    path = ROOT / CPU
    locked_builds = dict(parse(path.read_text())) if path.is_file() else {}
    cpu_pin = pin + torch_builds.CPU_SUFFIX
    if cpu_pin in locked_builds:
        return cpu_pin, locked_builds[cpu_pin]
    return torch_builds.cpu_build(pin, python=python, needed_by=needed_by)


def exact_pin(pin: Pin) -> Pin:
    """The pin with three equals signs: two would let a CPU build (2.13.0+cpu) in a wheelhouse pass for 2.13.0."""
    return pin[0].replace("==", "==="), pin[1]


def locks(root: Path = ROOT) -> dict[str, str]:
    """The text of every lock for the `pyproject.toml` in `root`, by its name.

    Raises UsageError or RequirementError; see `resolve` and `cpu_build`.
    """
    python, requirements, groups, _ = declared_requirements(root)
    resolutions, bound = resolve_for_platforms(requirements, python=python)
    linux, mac = resolutions[LINUX], resolutions[MAC].pins
    dependents = linux.dependents.get("torch", set())
    compiled = {"torch", *torch_builds.find_compiled(linux.pins, dependents, python=python)}
    # torch asks for CUDA on Linux only: what neither macOS nor the rest of Linux needs is the accelerator's.
    shared = (linux.without(compiled) | resolutions[ARM].without(compiled) | mac.keys()) - compiled
    cpu = []
    for name in sorted(compiled):
        needed_by = linux.dependents.get(name, set()) - {""}
        cpu.append((cpu_build(linux.pins[name][0], python=python, needed_by=needed_by), "sys_platform == 'linux'"))
        cpu += [(exact_pin(mac[name]), "sys_platform == 'darwin'")] if name in mac else []
    serve, reference = (on_linux(groups[name], python=python, bound=bound) for name in ("serve", "reference"))
    other_resolutions, versions = resolve_for_platforms(groups["versions"], python=python, packages=(VERSIONS,))
    gpu = {name: exact_pin(pin) if name in compiled else pin for name, pin in linux.pins.items() if name not in shared}
    pins: dict[str, list[tuple[Pin, str]]] = {
        SHARED: [(bound[name], platform_marker(name, resolutions)) for name in shared],
        SERVE: [(bound[name], "") for name in serve],
        REFERENCE: [(pin, "") for name, pin in reference.items() if name not in bound],
        VERSIONS: [(pin, platform_marker(name, other_resolutions)) for name, pin in versions.items()],
        GPU: [(pin, "") for pin in gpu.values()],
        CPU: cpu,
    }
    return {name: lock_text(lines, root) for name, lines in pins.items()}


def lock_text(pins: Iterable[tuple[Pin, str]], root: Path = ROOT) -> str:
    """The text of a lock with these pins and their markers, for the `pyproject.toml` in `root`."""
    inputs = f"{digest_of_declared(root)} {cutoff_text()}"
    text = f"# Written by `make lock` from pyproject.toml: edit that. inputs: {inputs}\n"
    for (pin, hashes), marker in sorted(pins):
        text += " \\\n    ".join([f"{pin} ; {marker}" if marker else pin, *(f"--hash={h}" for h in hashes)]) + "\n"
    return text


def write(texts: Mapping[str, str]) -> None:
    """Replace these files of the checkout, each in one step, once all of them are on the disk."""
    new_files = {}
    try:
        for name, text in texts.items():
            path = ROOT / name
            new_files[path] = path.with_name(f"{path.name}.new")
            new_files[path].write_text(text, newline="\n")
        for path, new in new_files.items():
            new.replace(path)
    finally:
        for new in new_files.values():
            new.unlink(missing_ok=True)


def main(argv: Sequence[str]) -> None:
    """The command line."""
    if argv:
        raise UsageError("usage: make lock")
    texts = locks()
    write(texts)
    for name, text in texts.items():
        print(f"{name}: {len(parse(text))} packages")


if __name__ == "__main__":
    command.run(main)
