"""DVC, in an environment of its own: installed by hash when it is first needed, in every runtime and in no image.

Each call works in a small repository of its own that is thrown away: it sees the one pointer that it is asked for, the
cache and the remote, and nothing of the user's other settings. So nothing in the checkout can be left half done.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from samebench.core import file_lock, untrusted
from samebench.core.command import RequirementError
from samebench.core.paths import ROOT
from samebench.data import cache, dvc_config
from samebench.data.dvc_config import DvcConfig
from samebench.data.pointer import Pointer

LOCK = Path(__file__).with_name("versions.lock")
HOME = ROOT / ".samebench"

# No word to anybody but the remote; no_scm because what goes into git is the user's affair.
QUIET = {"analytics": "false", "check_update": "false", "no_scm": "true"}

# DVC takes any host for the remote, and lends it the agent. Here it must be in known_hosts, and is lent nothing.
# DVC also takes any name of an object in a list of files, and would write it wherever that leads. To DVC such a list is
# empty here: it comes alone, and `cache.parse_tree` refuses it.
STRICT = """
import re, sys
from dvc.cli import main
from dvc_data.hashfile.tree import Tree
from dvc_ssh import SSHFileSystem
from_list = Tree.from_list
def is_safe(entry):
    path = entry.get("relpath")
    return re.fullmatch("[0-9a-f]{32}", str(entry.get("md5"))) and path and not {"", ".", ".."} & {*path.split("/")}
def checked(entries, *words, **options):
    return from_list(entries if all(map(is_safe, entries)) else [], *words, **options)
Tree.from_list = checked
prepare = SSHFileSystem._prepare_credentials
own = {"known_hosts": (), "agent_forwarding": False}
SSHFileSystem._prepare_credentials = lambda self, **config: {**prepare(self, **config), **own}
sys.exit(main(sys.argv[1:]))
"""


def settings(root: Path = ROOT) -> DvcConfig:
    """The checkout's settings; `DATA_REMOTE` comes before the remote that stands there. Raises UsageError."""
    return dvc_config.read_config(root)


def transfer(verb: str, pointers: Iterable[Pointer], config: DvcConfig, work: Path) -> str:
    """`fetch` what pointers name from the remote into the cache, or `push` it from the cache; DVC's last word.

    DVC sees pointers that are written here, each to a folder of a name of its own, by which DVC tells them apart.
    Raises RequirementError, in one line, where the remote does not answer, is full or refuses.
    """
    with _repository(config, work) as place:
        names = []
        for number, pointer in enumerate(pointers):
            names.append(f"version-{number}.dvc")
            (place / names[-1]).write_text(pointer.text(f"version-{number}"))
        return _call(verb, *names, at=place, where=config.url)


@contextmanager
def _repository(config: DvcConfig, work: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"dvc-{file_lock.machine_tag()}-", dir=work) as name:
        place = Path(name)
        (place / ".dvc").mkdir()
        shared = {"shared": "group"} if config.shared else {}
        remote = config.remote if "://" in config.url else {**config.remote, **shared}
        cache_options = {"dir": str(config.cache), **shared}
        sections = {"core": {**QUIET, "remote": "given"}, "cache": cache_options, "'remote \"given\"'": remote}
        (place / ".dvc/config").write_text(dvc_config.format_config(sections))
        yield place


def _call(*words: str, at: Path, where: str) -> str:
    variables = {
        name: str(at / ".dvc/own") for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    result = subprocess.run(
        [python(), "-I", "-c", STRICT, *words],
        cwd=at, env=inherited | variables | {"DVC_NO_ANALYTICS": "true"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    if result.returncode:
        raise RequirementError(
            f"{where}: {_reason(result.stderr)}; see that it is there, has room and lets you in, then once more"
        )
    return (result.stdout.splitlines() or [""])[-1]


def _reason(stderr: str) -> str:
    """The cause that DVC tells first, without the names of its own files."""
    causes = re.findall(r"^ERROR: (?:unexpected error - |.*? - )?(.*)$", stderr, re.MULTILINE)
    cause = causes[0] if causes else (stderr.strip().splitlines() or ["no word"])[-1]
    return re.sub(r"^\[Errno \d+] ", "", cause.split(": '")[0]).strip()


@contextmanager
def locked_workspace(root: Path, config: DvcConfig) -> Iterator[Path]:
    """A folder on the checkout's disk, for one process at a time, without what a killed one has left.

    So is the cache, which other checkouts may share: DVC can't bring an object where another is just bringing it.
    """
    place = untrusted.path_inside(root, ".dvc/tmp", where=".dvc/tmp")
    for folder in (place, config.cache):
        folder.mkdir(parents=True, exist_ok=True)
    cache.Cache(config.cache).refuse_links()
    if config.shared:
        with suppress(PermissionError):  # a teammate's is so already
            config.cache.chmod(0o2775)
    with file_lock.exclusive(place) as locked, file_lock.exclusive(config.cache):
        if locked:
            for leftover in file_lock.abandoned(place, "dvc-*"):
                shutil.rmtree(untrusted.path_inside(place, leftover.name, where=place))
        yield place


# ---- its environment ----


def python() -> Path:
    """The interpreter that has DVC, installed from its lock if it is not there yet.

    Raises RequirementError, in one line, where that can't be done.
    """
    place = HOME / f"dvc-{_key()}"
    if not place.is_dir():
        HOME.mkdir(exist_ok=True)
        with file_lock.exclusive(HOME) as locked:
            if locked:
                for leftover in file_lock.abandoned(HOME, "dvc-*.new-*"):
                    shutil.rmtree(leftover)
            if not place.is_dir():
                _install(place)
    return place / "bin/python"


def _key() -> str:
    """A checkout may be seen from a host and from a container, whose interpreters are not the same."""
    base = f"{sys.base_prefix} {platform.python_version()} {sys.platform} {platform.machine()}"
    return hashlib.sha256(LOCK.read_bytes() + base.encode()).hexdigest()[:12]


def _install(place: Path) -> None:
    print("samebench: setting up DVC from its lock: half a minute the first time", file=sys.stderr, flush=True)
    partial = place.with_name(f"{place.name}.new-{file_lock.machine_tag()}-{secrets.token_hex(4)}")
    try:
        _uv("venv", "--no-project", "--python", sys.executable, str(partial))
        words = ["--python", str(partial), "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _uv("pip", "install", *words, "--requirement", str(LOCK), *_wheelhouse(words))
        if not place.is_dir():
            partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _wheelhouse(words: list[str]) -> list[str]:
    """Asked before the index, and alone where it has all."""
    folder = os.environ.get("WHEELHOUSE") or os.environ.get("PIP_FIND_LINKS") or ""
    if not Path(folder).is_dir() or not folder:
        return []
    links = ["--find-links", str(Path(folder).resolve())]
    try:
        _uv("pip", "install", *words, "--requirement", str(LOCK), *links, "--no-index", "--dry-run")
    except RequirementError:
        return links
    return [*links, "--no-index"]


def _uv(*words: str) -> None:
    variables = {"UV_LINK_MODE": "copy"}
    if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL"):
        variables["UV_DEFAULT_INDEX"] = index
    if authority := os.environ.get("CA_CERT"):
        variables["SSL_CERT_FILE"] = authority
    if not os.access(Path.home(), os.W_OK):
        variables["UV_CACHE_DIR"] = str(HOME / "uv")
    command = ["uv", "--no-config", "--quiet", *words]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)
    if result.returncode:
        message = " ".join(result.stderr.split())
        remedy = "behind a mirror set PIP_INDEX_URL, without a network WHEELHOUSE"
        raise RequirementError(f"DVC could not be installed from {LOCK.relative_to(ROOT)} ({message}); {remedy}")
