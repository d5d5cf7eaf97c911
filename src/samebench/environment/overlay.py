"""Runs a command with more packages on top of the workspace, and removes them when it ends: `make try PKG=name`.

    python -m samebench.environment.overlay COMMAND…      the packages are in the variable PACKAGES

The packages are resolved against what is installed, which stays as it is, and come into a folder that is on PYTHONPATH
for that command. A training that runs there has them in its receipt under `overlay`.
"""

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from samebench.core import command
from samebench.core.command import RequirementError, UsageError
from samebench.core.paths import ROOT
from samebench.environment import fingerprint, lock, packages, torch_builds
from samebench.environment.package_index import normalize

INDEXES = ("PIP_INDEX_URL", "TORCH_INDEX", "UV_DEFAULT_INDEX")  # with their tokens


def plan(words: Sequence[str], constraints: Path) -> list[str]:
    """The pins that these requirements need beside what is installed. Raises UsageError with uv's own words."""
    installed = {(each.name, each.version) for each in importlib.metadata.distributions()}
    constraints.write_text("".join(f"{name}=={version}\n" for name, version in sorted(installed)))
    result = uv("--dry-run", "--constraint", str(constraints), *words)
    if result.returncode:
        raise UsageError(f"{' '.join(words)}: nothing was installed: {lock.uv_message(result.stderr)}")
    return re.findall(r"^ \+ (\S+==\S+)", result.stderr, re.MULTILINE)


def install(pins: Sequence[str], folder: Path) -> None:
    """Install these pins into `folder`, in their builds for the CPU where the workspace has torch's.

    Raises UsageError, or RequirementError if there is no such build.
    """
    _install(pins, folder)
    if not importlib.metadata.version("torch").endswith(torch_builds.CPU_SUFFIX):
        return
    compiled = {
        normalize(each.name) for each in importlib.metadata.distributions(path=[str(folder)]) if is_compiled(each)
    }
    if compiled:
        shutil.rmtree(folder)
        _install([pin for pin in pins if normalize(pin.split("==")[0]) not in compiled], folder)
        for each in (pin for pin in pins if normalize(pin.split("==")[0]) in compiled):
            pin = each + torch_builds.CPU_SUFFIX
            result = uv("--no-deps", "--target", str(folder), pin, index=torch_builds.torch_index())
            if result.returncode:
                raise RequirementError(
                    f"{each} is compiled against torch, and its CPU build {pin} can't be "
                    f"installed: {lock.uv_message(result.stderr)}; "
                    "set TORCH_INDEX to a mirror, or WHEELHOUSE to its folder"
                )


def is_compiled(package: importlib.metadata.Distribution) -> bool:
    """Whether an installed package is compiled against torch."""
    needs = {re.split(r"[^A-Za-z0-9._-]", each)[0].lower() for each in package.requires or ()}
    pure = "Root-Is-Purelib: true" in (package.read_text("WHEEL") or "")
    return not pure and ("torch" in needs or package.name.lower() in torch_builds.SILENT)


def _install(pins: Sequence[str], folder: Path) -> None:
    if pins:
        result = uv("--no-deps", "--target", str(folder), *pins)
        if result.returncode:
            raise UsageError(f"{' '.join(pins)}: {lock.uv_message(result.stderr)}")


def uv(*words: str, index: str = "") -> subprocess.CompletedProcess[str]:
    """`uv pip install` of wheels for this interpreter, from `index` or the usual one."""
    options = ["--python", sys.executable, "--only-binary", ":all:", "--no-progress"]
    if wheelhouse := os.environ.get("WHEELHOUSE"):
        options += ["--find-links", wheelhouse]
    variables = lock.environment() | ({"UV_DEFAULT_INDEX": index} if index else {})
    program = Path(sys.executable).with_name("uv")
    return subprocess.run(
        [program, "pip", "install", *options, *words], cwd=ROOT, env=variables, capture_output=True, text=True
    )


def command_variables(folder: Path, words: Sequence[str]) -> dict[str, str]:
    """Our variables for the command: with the overlay, and for a server without the indexes."""
    variables = {name: value for name, value in os.environ.items() if name != "PACKAGES"}
    if "samebench.workspace.notebook" in words:
        variables = {name: value for name, value in variables.items() if name not in INDEXES}
    before = variables.get("PYTHONPATH")
    return variables | {
        fingerprint.OVERLAY: str(folder),
        "PYTHONPATH": f"{folder}{os.pathsep}{before}" if before else str(folder),
        "PATH": f"{folder}/bin{os.pathsep}{variables['PATH']}",
    }


def run(words: Sequence[str], variables: Mapping[str, str]) -> int:
    """Run the command to its end, passing signals on; its exit code."""
    child = subprocess.Popen(words, env=variables)
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the command, too
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda number, _: child.send_signal(number))
    code = child.wait()
    return code if code >= 0 else 128 - code


def main(argv: Sequence[str]) -> int:
    """The command line."""
    if not argv:
        raise UsageError('usage: make try PKG="name>=2", or with ARGS="python script.py" or ARGS=notebook')
    if argv[-1] == "--health":  # of the server that runs here
        os.execvp(argv[0], list(argv))  # noqa: S606 - by name and without a shell
    requirements = packages.requirements(os.environ.get("PACKAGES", ""))
    with tempfile.TemporaryDirectory(prefix="overlay-") as directory:
        folder = Path(directory, "packages")
        folder.mkdir()
        pins = plan(requirements, Path(directory, "constraints.txt"))
        install(pins, folder)
        on_top = fingerprint.overlay(folder)
        print(
            f"on top of the workspace until this ends: {', '.join(on_top) or 'nothing, it has all of this'}", flush=True
        )
        return run(argv, command_variables(folder, argv))


if __name__ == "__main__":
    command.run(main)
