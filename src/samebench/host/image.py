"""The images: what they are made from, which names them; their build, and what of it is the same as a teammate's."""

from __future__ import annotations

import calendar
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from samebench.host import project, toml
from samebench.host.call import PROXIES, Call
from samebench.host.engine import Engine
from samebench.host.errors import RequirementError, UsageError
from samebench.host.process import capture, output_of, print_message, run, succeeds

INSTALLED = ("src/samebench/environment/install.sh", "src/samebench/environment/fingerprint.py")
WORKSPACE = ("docker/nss_caller.c", "docker/profile.sh")
SYSTEM = "samebench:system"
ENGINE_FAILED = 125  # the exit code of docker and podman for a failure of their own
DEBIAN_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
# zstd: gzip takes three times as long.
OUTPUT = "type=image,oci-mediatypes=true,compression=zstd,compression-level=3,force-compression=true"
PLATFORMS = ("linux/amd64", "linux/arm64")


class Image(NamedTuple):
    """An image of this checkout. Its tag comes from its inputs: a changed lock is another image."""

    name: str
    latest: str  # the name that moves on with each build
    flavour: str  # cpu, gpu or serve
    artifact: str = ""  # the folder that is served
    platform: str = ""  # where it is not this machine's
    packages: tuple[str, ...] = ()  # Debian's
    project: str = ""  # whose server it is

    @classmethod
    def of_workspace(cls, call: Call, flavour: str = "") -> Image:
        """The workspace's image. Raises UsageError for a list of packages that is none."""
        flavour = flavour or call.flavour
        packages = debian_packages()
        content = _content(flavour, *WORKSPACE) + f"{' '.join(packages)}\n{_rest(call)}".encode()
        tag = f"{flavour}-{hashlib.sha256(content).hexdigest()[:12]}"
        return cls(f"samebench:{tag}", f"samebench:{flavour}", flavour, packages=packages)

    @classmethod
    def of_server(cls, call: Call, artifact: str) -> Image:
        """The image of the project's server of the artifact in this folder."""
        package, platform = project.name(call), call.get("PLATFORM")
        parts = sorted(str(path) for path in Path(artifact).iterdir() if not path.name.startswith("."))
        content = _content("serve", ".dockerignore", *parts, *server_sources(package)) + f"\n{_rest(call)}".encode()
        suffix = f"-{platform.partition('/')[2]}" if platform else ""
        tag = f"{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
        names = f"{package}-serve:{tag}", f"{package}-serve:latest{suffix}"
        return cls(*names, "serve", artifact=artifact, platform=platform, project=package)


def _content(flavour: str, *others: str) -> bytes:
    names = (f"docker/{flavour}.Dockerfile", "requirements.lock", f"docker/{flavour}.lock", *INSTALLED, *others)
    return b"".join(Path(name).read_bytes() for name in names if Path(name).is_file())


def _rest(call: Call) -> str:
    return f"{exclude_newer()}{call.get('BASE_IMAGE')}"


def server_sources(package: str) -> list[str]:
    """The sources of ours and of a project that go into the server's image, in one order everywhere."""
    paths: set[Path] = set()
    for line in Path(".dockerignore").read_text().splitlines():
        for owner in ("samebench", package) if line.startswith("!src") else ():
            path = Path(line[1:].replace("*", owner))
            paths |= {path} if path.is_file() else {each for each in path.rglob("*") if each.is_file()}
    return sorted(str(path) for path in paths if "__pycache__" not in path.parts)


def debian_packages() -> tuple[str, ...]:
    """The Debian packages that pyproject.toml adds to the workspace. Raises UsageError for what is no such name."""
    table = "tool.samebench.image"
    packages = toml.read(Path("pyproject.toml"), table).get("apt", [])
    wrong = [each for each in packages if not DEBIAN_NAME.fullmatch(each)] if isinstance(packages, list) else [packages]
    if wrong or not isinstance(packages, list):
        remedy = 'give a list such as apt = ["libgl1"]'
        raise UsageError(f"pyproject.toml, [{table}]: apt: {wrong[0]} is no name of a Debian package; {remedy}")
    return tuple(packages)


def exclude_newer() -> str:
    """The moment after which packages don't exist for our locks, as pyproject.toml writes it.

    Every file in an image bears it, so that its bits don't depend on the day: it is the same in every checkout, however
    shallow, and without git.
    """
    match = re.search(r'^exclude-newer = "([^"]*)"', Path("pyproject.toml").read_text(), re.MULTILINE)
    return match[1] if match else ""


def epoch() -> int:
    """The same in seconds since 1970."""
    try:
        return calendar.timegm(time.strptime(exclude_newer(), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError as error:
        what = f"pyproject.toml, [tool.uv]: exclude-newer: {exclude_newer()} is no moment"
        raise UsageError(f'{what}; give one such as exclude-newer = "2026-11-20T00:00:00Z"') from error


def base(call: Call, flavour: str, engine: Engine) -> str:
    """What the image stands on: with the checkout and the builder, all that its digest depends on."""
    if base_image := call.get("BASE_IMAGE"):
        return f"{base_image} {engine.digest(base_image)}"
    match = re.search(r"^FROM \${BASE_IMAGE:-(.*)}", Path(f"docker/{flavour}.Dockerfile").read_text(), re.MULTILINE)
    return match[1] if match else ""


# ---- a build ----


def build_options(image: Image, call: Call, *, secrets: Mapping[str, str], moment: int) -> list[str]:
    """The options of a build, for docker and podman; `secrets` are files by their ids.

    Secrets, not build arguments: they leave no trace in the image or its history.
    """
    words = ["--file", f"docker/{image.flavour}.Dockerfile", "--tag", image.name, "--tag", image.latest]
    words += [word for name, path in secrets.items() for word in ("--secret", f"id={name},{_field(path)}")]
    if call.wheelhouse:
        words += ["--build-context", f"wheelhouse={call.wheelhouse}"]
    if image.artifact:
        words += ["--build-context", f"artifact={image.artifact}", "--build-arg", f"PROJECT={image.project}"]
    if image.platform:
        words += ["--platform", image.platform]
    if call.uses_loopback:
        words += ["--network", "host"]
    if call.get("BASE_IMAGE"):
        words += ["--build-arg", f"BASE_IMAGE={call.get('BASE_IMAGE')}"]
    if image.packages:
        words += ["--build-arg", f"DEBIAN_PACKAGES={' '.join(image.packages)}"]
    for name in PROXIES:
        if call.get(name):
            words += ["--build-arg", name]  # the engine takes the value from its own environment
    return [*words, "--build-arg", f"SOURCE_DATE_EPOCH={moment}"]


def _field(path: str) -> str:
    """A file for --secret, which docker reads as fields of CSV and podman as they are."""
    return '"src={}"'.format(path.replace('"', '""')) if set(path) & set(',"') else f"src={path}"


def indexes_script(variables: Mapping[str, str]) -> str:
    """What a step of the Dockerfile reads to know the indexes. It shows its commands, but for these lines."""
    lines = []
    for name in ("PIP_INDEX_URL", "TORCH_INDEX"):
        if value := variables.get(name):
            quoted = value.replace("'", "'\\''")
            lines.append(f"{{ set +x; }} 2>/dev/null\nexport {name}='{quoted}'\nset -x\n")
    return "".join(lines)


def build(image: Image, call: Call, engine: Engine, options: Sequence[str] = ()) -> None:
    """Build it; the engine's words go to stderr. Raises RequirementError where it can't be built."""
    environment = dict(call.variables)
    moment = epoch()
    with tempfile.TemporaryDirectory(prefix="samebench-") as work:
        secrets = {}
        if script := indexes_script(call.variables):
            secrets["indexes"] = f"{work}/indexes"
            Path(secrets["indexes"]).write_text(script)
        if call.ca_cert:
            secrets["ca"] = call.ca_cert
        words = [*build_options(image, call, secrets=secrets, moment=moment), *options]
        print_message(f"building {image.name}: minutes the first time, then seconds")
        if engine.name == "docker":
            if not succeeds(["docker", "buildx", "version"]):
                remedy = "install docker-buildx (or docker-buildx-plugin), or use RUNTIME=local"
                raise RequirementError(f"docker has no buildx: {remedy}")
            # The default builder of the context puts its image where `docker run` finds it; another may not.
            environment["BUILDX_BUILDER"] = output_of(["docker", "context", "show"]) or "default"
            if not os.access(call.get("HOME") or "/", os.W_OK):
                environment["DOCKER_CONFIG"] = work  # where buildx takes notes, for a user without a home
            words = ["docker", "buildx", "build", "--provenance=false", "--output", OUTPUT, *words]
        else:
            words = ["podman", "build", "--timestamp", str(moment), *words]
        if run([*words, "."], environment=environment, mask=call.has_credentials):
            raise RequirementError(f"the {image.flavour} image could not be built (see above)")
    if image.artifact:
        print_message(f"{image.name}: {_unpacked(image, engine)} MB unpacked")


def _unpacked(image: Image, engine: Engine) -> str:
    """Megabytes of every file in the image; an engine's own figure counts other things in every version of it."""
    words = [engine.name, "run", "--rm", *platform_words(image), "--user", "0:0", "--entrypoint", "du", image.name]
    return output_of([*words, "-sx", "--apparent-size", "--block-size=1000000", "/"]).partition("\t")[0]


def platform_words(image: Image) -> list[str]:
    """The engine's words for another machine's image."""
    return ["--platform", image.platform] if image.platform else []


def host_words(*words: str) -> list[str]:
    """The words that start another command of the host's side."""
    return [sys.executable, "-I", "src/samebench/host", *words]


def save(image: Image, engine: Engine, path: Path) -> bool:
    """Write the image as it lies in the store to a file; whether that went well. Podman's own save would write gzip."""
    if engine.name == "docker":
        return not run(["docker", "image", "save", "--output", str(path), image.name])
    words = ["podman", "push", "--quiet", "--compression-format", "zstd", image.name, f"oci-archive:{path}"]
    return not run(words)


def run_in(
    image: Image, engine: Engine, words: Sequence[str], *, program: str = "", stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """What a program of the finished image says, without a network or any power; "" is the image's own program."""
    options = ["--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    options += ["--user", "0:0", "--entrypoint", program] if program else []
    start = [engine.name, "run", "--rm", "--interactive", *platform_words(image), *options, image.name]
    return capture([*start, *words], stdin=stdin)
