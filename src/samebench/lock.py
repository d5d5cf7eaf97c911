"""Writes every lock from `pyproject.toml`: `make lock`, and `make add PKG=name`.

One resolution serves all: what both workspaces share goes to `requirements.lock`, what only CUDA needs to
`docker/gpu.lock`, and `docker/cpu.lock` is torch's CPU build alone. So the two workspaces can't drift apart. What the
server needs is in the workspaces too, and `docker/serve.lock` is that part alone, in the same versions;
`tests/beside.lock` is what the tests and benchmarks of it put on top of the workspace. `src/samebench/versions.lock` is
DVC's, which shares nothing with any of them.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED, CPU, GPU = "requirements.lock", "docker/cpu.lock", "docker/gpu.lock"
SERVE, BESIDE, VERSIONS = "docker/serve.lock", "tests/beside.lock", "src/samebench/versions.lock"
WORKSPACE = (SHARED, GPU, BESIDE)  # what these pin stays, for all of them together

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


def declared(root: Path = ROOT) -> tuple[str, list[str], dict[str, list[str]], str]:
    """The Python version (major.minor), all requirements, the groups and the cut-off date of `pyproject.toml`."""
    project = tomllib.loads((root / "pyproject.toml").read_text())
    python = project["project"]["requires-python"].removeprefix("==").removesuffix(".*")
    groups = {name: sorted(group) for name, group in project["dependency-groups"].items()}
    requirements = sorted({*project["project"]["dependencies"], *groups["serve"]})
    return python, requirements, groups, project["tool"]["uv"]["exclude-newer"]


def digest_of_declared(root: Path = ROOT) -> str:
    """SHA-256 over what the locks are made from; each lock carries it, so a forgotten `make lock` shows."""
    return hashlib.sha256(json.dumps(declared(root)).encode()).hexdigest()


def parse(lock: str) -> list[Pin]:
    """The pins in a lock's text, in its order."""
    lines = lock.replace("\\\n", " ").splitlines()
    found = [(re.match(r"[\w.-]+={2,3}[^\s;]+", line), re.findall(r"sha256:[0-9a-f]{64}", line)) for line in lines]
    return [(name[0], tuple(sorted(hashes))) for name, hashes in found if name]


def resolve(
    platform: str, *, python: str, requirements: list[str], bound: Pins, known: tuple[str, ...] = WORKSPACE
) -> Pins:
    """Every package that `requirements` need on `platform`: as in `bound`, else as `known` locks it, else the newest.

    Raises:
        ValueError: there is no solution, or the package index does not answer; with uv's own words.
    """
    with tempfile.TemporaryDirectory() as directory:
        asked, bounds, found = (Path(directory, name) for name in ("asked.in", "bounds.in", "found.lock"))
        asked.write_text("\n".join(requirements))
        found.write_text("\n".join(locked(known)))  # uv prefers what stands in its output already
        bounds.write_text("\n".join(pin for pin, _ in bound.values()))
        command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--generate-hashes"]
        command += ["--only-binary", ":all:", "--python-version", python, "--python-platform", platform]
        done = subprocess.run(
            [*command, "--constraint", bounds, "--output-file", found, asked],
            cwd=ROOT, env=environment(), capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise ValueError(f"no lock for {platform}, nothing was changed: {' '.join(done.stderr.split())}")
        return {pin.split("=")[0]: (pin, hashes) for pin, hashes in parse(found.read_text())}


def locked(names: tuple[str, ...] = WORKSPACE) -> list[str]:
    """The pins of these locks, as long as they were written for today's cut-off date: moving it takes newer versions.

    So a package that is added changes no other, and a mirror that lags behind changes none.
    """
    texts = [(ROOT / name).read_text() for name in names if (ROOT / name).is_file()]
    current = [text for text in texts if text.splitlines()[0].endswith(as_of())]
    return [pin.replace("===", "==") for text in current for pin, _ in parse(text)]


def as_of() -> str:
    """What ends a lock's first line."""
    return f"as of {declared()[3]}"


def everywhere(
    requirements: list[str], *, python: str, known: tuple[str, ...] = WORKSPACE
) -> tuple[dict[str, Pins], Pins]:
    """Every package that `requirements` need, by platform and all together: of each the same version everywhere."""
    on: dict[str, Pins] = {}
    bound: Pins = {}
    for platform in PLATFORMS:
        on[platform] = resolve(platform, python=python, requirements=requirements, bound=bound, known=known)
        bound = on[platform] | bound
    return on, bound


def where(name: str, on: dict[str, Pins]) -> str:
    """The marker of the platforms that have this package; none where all have it."""
    platforms = [marker for platform, marker in PLATFORMS.items() if name in on[platform]]
    return "" if len(platforms) == len(PLATFORMS) else " or ".join(platforms)


def on_linux(requirements: list[str], *, python: str, bound: Pins) -> Pins:
    """Every package that `requirements` need on Linux, on either architecture."""
    both = [resolve(platform, python=python, requirements=requirements, bound=bound) for platform in (LINUX, ARM)]
    return both[1] | both[0]


def environment() -> dict[str, str]:
    """Our variables without those that would make one person's lock differ from another's."""
    personal = {"UV_FIND_LINKS", "UV_EXCLUDE_NEWER", "UV_OVERRIDE", "UV_CONSTRAINT", "UV_PRERELEASE", "UV_NO_INDEX"}
    # torch's wheels ask for macOS 14; uv assumes an older one.
    return {k: v for k, v in os.environ.items() if k not in personal} | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}


def cpu_build(torch: str, *, python: str) -> Pin:
    """Torch's CPU build for Linux on both architectures: from the lock if it has that version, else the index.

    Raises:
        ValueError: the index does not answer, or lacks a wheel of that version.
    """
    wanted = f"{torch}+cpu"
    known = dict(parse((ROOT / CPU).read_text())) if (ROOT / CPU).exists() else {}
    if wanted in known:
        return wanted, known[wanted]
    index = torch_index()
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=60) as answer:  # noqa: S310 - a mirror may be a folder
            page = answer.read().decode()
    except OSError as error:
        raise ValueError(f"{index} does not answer ({error}): set TORCH_INDEX to a mirror of it") from error
    name = f'torch-{torch.removeprefix("torch==")}(?:%2B|\\+)cpu-cp{python.replace(".", "")}-[^#"]*'
    found = re.findall(rf"{name}(?:x86_64|aarch64)\.whl#sha256=([0-9a-f]{{64}})", page)
    if len(set(found)) != 2:
        raise ValueError(f"{index} has {len(set(found))} Linux wheels of {wanted} for Python {python}, not 2")
    return wanted, tuple(sorted({f"sha256:{value}" for value in found}))


def torch_index() -> str:
    """Where torch's CPU builds are: `TORCH_INDEX`, or the default, which stands in `install.sh`."""
    default = re.search(r"TORCH_INDEX:=([^}]+)}", Path(__file__).with_name("install.sh").read_text())
    assert default, "install.sh names no default for TORCH_INDEX"
    return os.environ.get("TORCH_INDEX") or default[1]


def write(name: str, pins: list[tuple[Pin, str]]) -> None:
    """Replaces a lock in one step: the old or the new one is there, never half of it."""
    text = f"# Written by `make lock` from pyproject.toml: edit that. inputs: {digest_of_declared()} {as_of()}\n"
    for (pin, hashes), marker in sorted(pins):
        text += " \\\n    ".join([f"{pin} ; {marker}" if marker else pin, *(f"--hash={h}" for h in hashes)]) + "\n"
    path = ROOT / name
    fresh = path.with_suffix(".new")
    fresh.write_text(text, newline="\n")
    fresh.replace(path)
    print(f"{name}: {len(pins)} packages")


def lock() -> None:
    """Resolves once per platform and writes every lock.

    Raises:
        ValueError: see `resolve` and `cpu_build`; no lock is changed then.
    """
    python, requirements, groups, _ = declared()
    on, bound = everywhere(requirements, python=python)
    plain = [requirement for requirement in requirements if not requirement.startswith("torch==")]
    without_torch = resolve(LINUX, python=python, requirements=plain, bound=bound)
    # torch asks for CUDA on Linux only: what neither macOS nor the rest of Linux needs is the accelerator's.
    shared = set(without_torch) | set(on[MAC]) - {"torch"}
    serve, beside = (on_linux(groups[name], python=python, bound=bound) for name in ("serve", "beside"))
    apart_on, apart = everywhere(groups["versions"], python=python, known=(VERSIONS,))
    cpu = cpu_build(on[LINUX]["torch"][0], python=python)
    # Three equals signs: two would let a wheelhouse's CPU build (2.13.0+cpu) pass for the plain one.
    torch = on[LINUX]["torch"] = on[LINUX]["torch"][0].replace("==", "==="), on[LINUX]["torch"][1]

    write(SHARED, [(bound[name], where(name, on)) for name in shared])
    write(SERVE, [(bound[name], "") for name in serve])
    write(BESIDE, [(pin, "") for name, pin in beside.items() if name not in bound])
    write(VERSIONS, [(pin, where(name, apart_on)) for name, pin in apart.items()])
    write(GPU, [(pin, "") for name, pin in on[LINUX].items() if name not in shared])
    write(CPU, [(cpu, "sys_platform == 'linux'"), (torch, "sys_platform == 'darwin'")])


def add(packages: list[str]) -> None:
    """Puts packages into `pyproject.toml` and locks; on failure `pyproject.toml` is as before.

    Raises:
        ValueError: a package can't be added or resolved.
    """
    path = ROOT / "pyproject.toml"
    before = path.read_text()
    command = ["uv", "add", "--frozen", "--quiet", *packages]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(packages)}: {' '.join(done.stderr.split())}")
    try:
        lock()
    except BaseException:
        path.write_text(before)
        raise


def main() -> int:
    """The command line; exit code 2 if nothing could be locked."""
    parser = argparse.ArgumentParser(prog="lock", description=__doc__)
    parser.add_argument("--add", nargs="+", metavar="PKG", default=[], help="put these into pyproject.toml first")
    arguments = parser.parse_args()
    try:
        add(arguments.add) if arguments.add else lock()
    except ValueError as error:
        print(f"lock: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
