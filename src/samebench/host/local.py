"""The local runtime: a virtual environment of the locks, for who has no engine, and a command in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from samebench.host import cpu, dotenv, process
from samebench.host.call import Call
from samebench.host.errors import RequirementError, UsageError
from samebench.host.files import make_writable
from samebench.host.process import capture, print_message

STAMP = "samebench.stamp"
USERS_OWN = {"PATH", "HOME", "SHELL", "EDITOR"}  # of the image's variables
PROCESSES = Path("/proc")


def link_name(flavour: str) -> str:
    """The name by which editors find the environment: a link."""
    return ".venv" if flavour == "cpu" else ".venv-gpu"


def stamp(flavour: str) -> str:
    """What an environment of this checkout's locks has in its stamp: the locks' hash, and where the checkout is.

    It is written last: an environment without it is stale or unfinished, and another is made beside it.
    """
    names = ("requirements.lock", f"docker/{flavour}.lock", "src/samebench/environment/install.sh")
    content = b"".join(Path(name).read_bytes() for name in names)
    return f"{hashlib.sha256(content).hexdigest()} {Path.cwd()}"


def is_stamped(folder: Path, flavour: str) -> bool:
    """Whether the environment in this folder is the one of this checkout's locks."""
    try:
        return (folder / STAMP).read_text().strip() == stamp(flavour)
    except OSError:
        return False


def ensure(call: Call, flavour: str) -> Path:
    """The folder of the environment of these locks, made if need be. What runs, runs from there.

    So no file is taken from it when the locks change. Raises RequirementError.
    """
    if os.pathsep in str(Path.cwd()):
        what = f'{Path.cwd()}: "{os.pathsep}" separates folders in PATH, so no environment works in there'
        raise UsageError(f"{what}; move the checkout, or use docker or podman")
    link = Path(link_name(flavour))
    if call.as_is:
        if not os.access(link / "bin/python", os.X_OK):
            raise RequirementError(f"no {link} yet; any command sets it up, such as make shell")
        return link
    if not link.is_symlink() and is_stamped(link, flavour):  # as an earlier edition made it
        return link
    key = hashlib.sha256(os.fsencode(stamp(flavour))).hexdigest()[:12]
    folder = Path(f".venv-{key}{link.name[len('.venv') :]}")
    if is_stamped(folder, flavour) and _leads_to(link, folder):
        return folder
    with _exclusive_lock(Path(f"{link}.lock")) as lock:  # two commands at once: the second waits, then finds all done
        if not is_stamped(folder, flavour):
            make_writable(str(folder))
            _make(call, flavour, link, folder, lock)
        if not _leads_to(link, folder):
            _link(link, folder)
    return folder


def _leads_to(link: Path, folder: Path) -> bool:
    return link.is_symlink() and link.readlink() == folder


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[int]:
    """The lock of set-ups. What sets up inherits it, and so holds it where we are killed."""
    make_writable(".")
    with path.open("w") as lock:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _make(call: Call, flavour: str, link: Path, folder: Path, lock: int) -> None:
    print_message(f"setting up {link} from the locks: about a minute the first time")
    if os.access(link / "bin/uv", os.X_OK):  # and none is fetched
        (folder / "bin").mkdir(parents=True, exist_ok=True)
        shutil.copy(link / "bin/uv", folder / "bin/uv")
    here = Path.cwd()
    words = ["sh", "src/samebench/environment/install.sh", find_python(), str(here / folder), str(here / "src")]
    words += ["requirements.lock", f"docker/{flavour}.lock"]
    code = process.run(words, environment=install_environment(call), mask=call.has_credentials, pass_fds=(lock,))
    if code:
        raise SystemExit(code)
    (folder / STAMP).write_text(f"{stamp(flavour)}\n")


def install_environment(call: Call) -> dict[str, str]:
    """The variables for install.sh."""
    certificates = {"SSL_CERT_FILE": call.ca_cert} if call.ca_cert else {}
    return {**call.variables, "WHEELHOUSE": call.wheelhouse, **certificates}


def _link(link: Path, folder: Path) -> None:
    """Turn the link to the new environment; others stay as long as something runs from them."""
    gpu = link.name.endswith("-gpu")
    for old in (link, *Path().glob(".venv-*")):
        of_ours = old == link or old.name.endswith("-gpu") == gpu
        if of_ours and old != folder and old.is_dir() and not old.is_symlink() and not _is_in_use(old):
            shutil.rmtree(old, ignore_errors=True)
    if link.is_symlink() or not link.exists():
        new = link.with_name(f"{link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(folder.name)
        new.replace(link)


def _is_in_use(folder: Path) -> bool:
    """Whether a process runs from it. Where no /proc says it, all are in use."""
    if not (PROCESSES / "self/maps").exists():
        return True
    place = f" {folder.resolve()}/".encode()
    return any(place in _content(maps) for maps in PROCESSES.glob("[0-9]*/maps"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""  # it has ended, or is another user's


def find_python() -> str:
    """The interpreter that pyproject.toml asks for; its bare version if this machine has none: uv looks further."""
    match = re.search(r'^requires-python = "==([0-9.]*)\.\*"', Path("pyproject.toml").read_text(), re.MULTILINE)
    version = match[1] if match else ""
    program = 'import sys; print("%d.%d" % sys.version_info[:2], sys._base_executable)'
    for candidate in (f"python{version}", "python3"):
        result = capture([candidate, "-c", program])
        have, _, path = result.stdout.strip().partition(" ")
        if not result.returncode and have == version:
            return path
    return version


def image_variables(dockerfile: str) -> dict[str, str]:
    """The variables that change results: they stand once, in the ENV lines of a Dockerfile, one a line."""
    entries = re.findall(r"^ENV ([A-Z_][A-Z0-9_]*)=(\S*)", dockerfile, re.MULTILINE)
    return {name: value for name, value in entries if name not in USERS_OWN}


def environment(call: Call, flavour: str, folder: Path) -> dict[str, str]:
    """The variables of a command in the environment."""
    variables = dict(call.variables) if call.as_is or call.artifact else dotenv.add_to(call.variables)
    variables.update(image_variables(Path(f"docker/{flavour}.Dockerfile").read_text()))
    variables.update(cpu.variables())
    variables["PATH"] = f"{Path.cwd() / folder}/bin:{variables.get('PATH', os.defpath)}"
    variables["SAMEBENCH_RUNTIME"] = "local"
    variables.pop(
        "PYTHONDONTWRITEBYTECODE", None
    )  # with it torch takes twice as long to import, JupyterLab thrice to start
    return variables


def run(call: Call, command: Sequence[str], *, flavour: str = "") -> NoReturn:
    """Become the command in the environment, which is set up if need be."""
    flavour = flavour or call.flavour
    folder = ensure(call, flavour)
    words = [*(["python", "-m", "samebench.environment.accelerator"] if call.gpus else []), *command]
    process.exec_program(words, environment(call, flavour, folder))
