"""The runtime: docker, podman, or "local", the virtual environment. An engine must answer; its client is not enough."""

from __future__ import annotations

import os
import shutil
from typing import NamedTuple

from samebench.host.errors import RequirementError, UsageError
from samebench.host.process import capture, output_of, succeeds

LOCAL = "local"
VERSIONS = {"docker": "{{.ServerVersion}}", "podman": "{{.Version.Version}}"}


class Engine(NamedTuple):
    """What runs commands."""

    name: str  # docker, podman or local
    version: str = ""
    reason: str = ""  # why this one

    @property
    def is_local(self) -> bool:
        """Whether there is no engine, or none is wanted."""
        return self.name == LOCAL

    @property
    def builder(self) -> str:
        """The engine and its version, as a fingerprint says them."""
        return f"{self.name} {self.version}"

    def has(self, image: str) -> bool:
        """Whether the image is in its store."""
        return succeeds([self.name, "image", "inspect", image])

    def digest(self, image: str) -> str:
        """The image's id, such as sha256:0123…."""
        identity = output_of([self.name, "image", "inspect", "--format", "{{.Id}}", image])
        return f"sha256:{identity.rpartition(':')[2]}"  # podman leaves the first word out

    def is_rootless(self) -> bool:
        """Whether it is docker that runs as the user."""
        return self.name == "docker" and "name=rootless" in output_of(
            ["docker", "info", "--format", "{{.SecurityOptions}}"]
        )

    def is_elsewhere(self) -> bool:
        """Whether it runs on another machine."""
        if self.name == "docker":
            host = output_of(["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
            return host.startswith(("http://", "https://", "npipe://", "ssh://", "tcp://"))
        if self.name == "podman":
            return output_of(["podman", "info", "--format", "{{.Host.ServiceIsRemote}}"]) == "true"
        return False


def choose(runtime: str) -> Engine:
    """The runtime that `RUNTIME=` asks for: auto, docker, podman or local. Raises UsageError, or RequirementError."""
    if runtime == LOCAL:
        return Engine(LOCAL, reason="asked for")
    if runtime in VERSIONS:
        return _find_engine(runtime)
    if runtime not in {"", "auto"}:
        raise UsageError(f"RUNTIME={runtime}: give auto, docker, podman or local")
    reasons = []
    for name in VERSIONS:
        if not shutil.which(name):
            reasons.append(f"no {name}")
            continue
        version, _ = _version(name)
        if version is not None:
            return Engine(name, version, ", ".join([*reasons, f"version {version} answers"]))
        reasons.append(f"{name} does not answer")
    return Engine(LOCAL, reason=", ".join(reasons))


def _find_engine(name: str) -> Engine:
    if not shutil.which(name):
        raise RequirementError(f"RUNTIME={name}: no {name} on this machine; install it, or use RUNTIME=local")
    version, error = _version(name)
    if version is None:
        remedy = "start it, or use RUNTIME=local"
        raise RequirementError(f"RUNTIME={name}: the engine does not answer ({error}); {remedy}")
    return Engine(name, version, f"asked for, version {version}")


def _version(name: str) -> tuple[str | None, str]:
    """The version of an engine, or None and the last line of what it says."""
    result = capture([name, "info", "--format", VERSIONS[name]])
    if result.returncode:
        lines = (result.stdout + result.stderr).strip().splitlines()
        return None, lines[-1] if lines else f"exit code {result.returncode}"
    return result.stdout.strip(), ""


class User(NamedTuple):
    """The user of this machine, to whom what is written in a container must belong."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # the others, by which a team shares its folders

    @classmethod
    def current(cls) -> User:
        """Who runs this command."""
        gid = os.getgid()
        return cls(os.getuid(), gid, tuple(sorted(set(os.getgroups()) - {gid})))

    def engine_words(self, engine: Engine) -> list[str]:
        """What makes files that are written in a container belong to the user out here."""
        if engine.name == "podman":
            return ["--userns", "keep-id"] if self.uid else ["--user", f"{self.uid}:{self.gid}"]
        if engine.is_rootless():
            return ["--user", "0:0"]  # root in there is the user out here; no group is mapped
        words = ["--user", f"{self.uid}:{self.gid}"]
        return words + [word for each in self.groups if self.uid for word in ("--group-add", str(each))]
