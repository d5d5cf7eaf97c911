"""`make doctor`: whether this machine, and the environment on it, are what they must be. Nothing is changed.

One finding a line: ok, remark, warning or failure, what was found and expected, and what mends it. With WITH=FILE only
what differs from a teammate's fingerprint, with JSON=1 one document. Exit codes: 0 no failure, 1 a failure, 2 wrong
use, 3 with WITH= there is no environment yet.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from samebench.host import engine, gpu, image
from samebench.host.call import PROXIES, Call
from samebench.host.errors import CommandError
from samebench.host.process import MISSING, capture, output_of, without_credentials

PORTS = (8888, 6006, 8000)
DISK_GB, SHARED_GB, MEMORY_GB = 10, 1, 2  # what an image with its build cache, a training and its loader take
SHARED = "/dev/shm"  # looked at, not written
LISTENS = "0A"  # in /proc/net/tcp
NO_ENVIRONMENT = re.compile(r"no .* yet; ")
MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Finding(NamedTuple):
    """One line of the doctor's."""

    status: str  # ok, remark, warning or failure
    name: str
    found: str
    expected: str = ""
    mend: str = ""


def examine(variables: Mapping[str, str]) -> int:
    """Show every finding; the exit code."""
    try:
        call = Call.of(variables)
    except CommandError as error:  # what GPU= can't be
        call = Call.of({**variables, "GPU": ""})
        return show(chain([_refused("failure", "GPU", error)], _all(call)), as_json=bool(call.get("JSON")))
    if file := call.get("WITH"):
        result = _inside(call, "--with", file)
        sys.stderr.write(result.stderr)
        if result.returncode:
            return result.returncode
        return show(_parsed(result.stdout), as_json=bool(call.get("JSON")))
    return show(_all(call), as_json=bool(call.get("JSON")))


def _all(call: Call) -> Iterator[Finding]:
    if not call.get("SAMEBENCH"):  # in there they are not ours to see
        yield from engines(call)
        yield from gpus(call)
        yield python_for_local()
        yield from ports()
    yield from disk_space("disk", ".", DISK_GB, "free some room")
    yield from disk_space("shared memory", SHARED, SHARED_GB, "give the container --shm-size 1g, or mount it larger")
    yield from memory()
    yield Finding("ok", "user", f"UID {os.getuid()}")
    yield from proxies(call)
    yield clock()
    yield from checkout(call)
    yield from environment(call)


# ---- this machine ----


def engines(call: Call) -> Iterator[Finding]:
    """Whether docker and podman answer; one that is asked for must."""
    runtime_name = call.get("RUNTIME") or "auto"
    for name in engine.VERSIONS:
        grade = {name: "failure", "auto": "warning" if name == "docker" else "remark"}.get(runtime_name, "remark")
        try:
            engine.choose(name)
        except CommandError as error:
            yield _refused(grade, name, error)
        else:
            yield Finding("ok", name, _first_line([name, "--version"]))
    if capture(["docker", "info"]).returncode:
        return
    result = capture(["docker", "buildx", "version"])
    if result.returncode:
        mend = "install docker-buildx (or docker-buildx-plugin), or RUNTIME=local"
        yield Finding("failure", "docker buildx", "not here", "", mend)
    else:
        yield Finding("ok", "docker buildx", f"{result.stdout} ?".split()[1])


def _refused(grade: str, name: str, error: CommandError) -> Finding:
    actual, _, mend = re.sub(r"^[A-Z]+=[^:]*: ", "", str(error)).partition("; ")
    return Finding(grade, name, actual, "", mend)


def _first_line(words: list[str]) -> str:
    return (output_of(words).splitlines() or [""])[0]


def gpus(call: Call) -> Iterator[Finding]:
    """One that is asked for must work; one that is not asked for is worth knowing of."""
    if not call.gpus and not shutil.which("nvidia-smi"):
        yield Finding("ok", "GPU", "none asked for")
        return
    gpu_call = call if call.gpus else call._replace(variables={**call.variables, "GPU": "1"})
    try:
        gpu.check(gpu_call.variables, engine.choose(call.get("RUNTIME")))
    except CommandError as error:
        yield _refused("failure" if call.gpus else "warning", "GPU", error)
    else:
        words = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        yield Finding("ok", "GPU", _first_line(words))


def python_for_local() -> Finding:
    """The Python of the local runtime."""
    match = re.search(r'^requires-python = "==([0-9.]*)\.\*"', Path("pyproject.toml").read_text(), re.MULTILINE)
    version = match[1] if match else ""
    for candidate in (f"python{version}", "python3"):
        have = output_of([candidate, "--version"])
        if have.startswith(f"Python {version}."):
            return Finding("ok", "python", have)
    mend = "install it; without it uv fetches one"
    return Finding("warning", "python", f"no Python {version}", "one for RUNTIME=local", mend)


def disk_space(name: str, folder: str, needed: int, mend: str) -> Iterator[Finding]:
    """Whether so many GB are free where a folder lies."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return
    yield has_enough(name, free, needed, mend)


def memory() -> Iterator[Finding]:
    """Whether there is memory for a training."""
    try:
        match = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return
    if match:
        yield has_enough("memory", int(match[1]) * 1024, MEMORY_GB, "end other programs")


def has_enough(name: str, free: int, needed: int, mend: str) -> Finding:
    """Hold so many free bytes against what is needed, in GB."""
    actual = f"{free // 1_000_000_000} GB free"
    if free >= needed * 1_000_000_000:
        return Finding("ok", name, actual)
    return Finding("warning", name, actual, f"{needed} GB", mend)


def ports() -> Iterator[Finding]:
    """Whether somebody listens on the ports of our servers."""
    tables = [path for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    if not tables:
        return
    rows = [line.split() for path in tables for line in path.read_text().splitlines()[1:]]
    ports_in_use = {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == LISTENS}
    mend = "nothing: the next free one is taken, or choose with PORT="
    for port in PORTS:
        yield (
            Finding("warning", f"port {port}", "taken", "free", mend)
            if port in ports_in_use
            else Finding("ok", f"port {port}", "free")
        )


def proxies(call: Call) -> Iterator[Finding]:
    """Proxies, without their passwords, and files of certificates."""
    for name in sorted(PROXIES, key=str.isupper):
        if call.get(name):
            yield Finding("ok", name, without_credentials(call.get(name)).replace("****@", "…@"))
    for name in ("CA_CERT", "SSL_CERT_FILE"):
        path = call.get(name)
        if not path:
            continue
        try:
            holds = b"BEGIN CERTIFICATE" in Path(path).read_bytes()
        except OSError:
            holds = False
        if holds:
            yield Finding("ok", name, "holds certificates")
        else:
            mend = f"unset {name}, or give the right file"
            actual = f"{path}: can't be read, or holds no certificate"
            yield Finding("failure", name, actual, "certificates in PEM", mend)


def clock() -> Finding:
    """Certificates and snapshots of packages are refused by a clock that is slow."""
    first_line = Path("requirements.lock").read_text().partition("\n")[0]
    cut_off = first_line.rpartition(" as of ")[2] if " as of " in first_line else ""
    variables = {**os.environ, "TZ": "UTC"}
    words = ["git", "log", "-1", "--format=%cd", f"--date=format-local:{MOMENT}"]
    committed = capture(words, environment=variables).stdout.strip()
    now = time.strftime(MOMENT, time.gmtime())
    latest = max(cut_off, committed, now)
    if latest == now:
        return Finding("ok", "clock", now)
    return Finding("failure", "clock", now, f"later than {latest}", "set the clock (timedatectl set-ntp true)")


def checkout(call: Call) -> Iterator[Finding]:
    """Whether the checkout is the user's, and its locks are those of its commit."""
    uid = os.getuid()
    for folder in (".", "data", "runs"):
        if Path(folder).is_dir() and not os.access(folder, os.W_OK):
            actual = f"{folder} is not writable for user {uid}"
            yield Finding("failure", "checkout", actual, "yours", f"chown -R {uid} {folder}, as root")
    if capture(["git", "rev-parse", "--git-dir"]).returncode:
        return
    for name in ("requirements.lock", f"docker/{call.flavour}.lock", f"docker/{call.flavour}.Dockerfile"):
        if capture(["git", "diff", "--quiet", "HEAD", "--", name]).returncode == 1:
            expected = f"as in commit {output_of(['git', 'rev-parse', '--short', 'HEAD'])}"
            yield Finding("failure", name, "edited", expected, f"commit it, or git checkout HEAD -- {name}")


# ---- what is installed ----


def _inside(call: Call, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["python", "-m", "samebench.environment.doctor", *words]
    start = command if call.get("SAMEBENCH") else image.host_words("--as-is", *command)
    return capture(start, environment=call.variables)


def environment(call: Call) -> Iterator[Finding]:
    """What is installed and set, as the runtime's own doctor finds it."""
    result = _inside(call)
    yield from _parsed(result.stdout)
    if not result.returncode:
        return
    reason = (result.stderr.strip().splitlines() or [f"exit code {result.returncode}"])[-1]
    reason = reason.partition("samebench: ")[2] if reason.startswith("samebench: ") else reason
    if result.returncode != MISSING and NO_ENVIRONMENT.match(reason):
        actual, _, mend = reason.partition("; ")
        yield Finding("warning", "environment", actual, "", mend)
    else:
        yield Finding("failure", "environment", f"can't be looked at ({reason})")


def _parsed(text: str) -> Iterator[Finding]:
    """Findings as samebench.environment.doctor prints them: a list in JSON a line."""
    for line in text.splitlines():
        yield Finding(*json.loads(line))


# ---- how it is shown ----


def show(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print them, as text line by line or as one document; 1 where one of them is a failure."""
    every = []
    for finding in findings:
        each = Finding(*("".join(filter(str.isprintable, text)) for text in finding))
        every.append(each)
        if not as_json:
            expected = f"; expected {each.expected}" if each.expected else ""
            mend = f"; mend: {each.mend}" if each.mend else ""
            print(f"{each.status:<8} {each.name}: {each.found}{expected}{mend}", flush=True)
    failed = any(each.status == "failure" for each in every)
    if as_json:
        print(json.dumps({"findings": [each._asdict() for each in every], "ok": not failed}, indent=1))
    return int(failed)
