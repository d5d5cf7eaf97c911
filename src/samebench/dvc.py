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
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from samebench import hold
from samebench.command import Lacking, Refusal

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("versions.lock")
HOME = ROOT / ".samebench"

# No word to anybody but the remote; no_scm because what goes into git is the user's affair.
QUIET = {"analytics": "false", "check_update": "false", "no_scm": "true"}

# DVC takes any host for the remote, and lends it the agent. Here it must be in known_hosts, and is lent nothing.
STRICT = """
import sys
from dvc.cli import main
from dvc_ssh import SSHFileSystem
prepare = SSHFileSystem._prepare_credentials
own = {"known_hosts": (), "agent_forwarding": False}
SSHFileSystem._prepare_credentials = lambda self, **config: {**prepare(self, **config), **own}
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Settings:
    """Where a checkout's versions are: what `.dvc/config` and `.dvc/config.local` say, with paths made absolute."""

    cache: Path
    shared: bool = False  # writable for the group
    remote: Mapping[str, str] = field(default_factory=dict)  # its url and options; empty where there is none

    @property
    def url(self) -> str:
        """The remote's address, "" where there is none."""
        return self.remote.get("url", "")


def settings(root: Path = ROOT) -> Settings:
    """The checkout's settings; `DATA_REMOTE` comes before the remote that stands there.

    Raises Refusal where the default remote has no address.
    """
    home = root / ".dvc"
    known: dict[str, dict[str, str]] = {}
    for name in ("config", "config.local"):
        for section, options in _sections(home / name).items():
            known.setdefault(section, {}).update(options)
    cache = known.get("cache", {})
    return Settings(
        cache=(home / cache.get("dir", "cache")).resolve(),
        shared=cache.get("shared") == "group",
        remote=_remote(known, home, root),
    )


def _remote(known: Mapping[str, dict[str, str]], home: Path, root: Path) -> dict[str, str]:
    if given := os.environ.get("DATA_REMOTE"):
        return {"url": _absolute(given, root)}
    if not (name := known.get("core", {}).get("remote")):
        return {}
    remote = known.get(f'remote "{name}"', {})
    if not remote.get("url"):
        raise Refusal(f"{home}/config: no url for the remote {name}; give it one, or leave core.remote out")
    return {**remote, "url": _absolute(remote["url"], home)}


def _absolute(url: str, home: Path) -> str:
    return url if "://" in url else str((home / Path(url).expanduser()).resolve())


def _sections(path: Path) -> dict[str, dict[str, str]]:
    """What a file in DVC's format says, by section: `['remote "team"']`, then lines of `key = value`."""
    found: dict[str, dict[str, str]] = {}
    section = ""
    for line in path.read_text().splitlines() if path.is_file() else []:
        if heading := re.fullmatch(r"\s*\[(.*)]\s*", line):
            section = heading[1].strip("'\" ") + '"' * ('"' in heading[1])
        elif "=" in line and not line.lstrip().startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(section, {})[key.strip()] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    """Without the remark behind it; a `#` between quotes is none."""
    quoted = re.fullmatch(r"""\s*(["'])(.*?)\1\s*(#.*)?""", value)
    return quoted[2] if quoted else value.partition("#")[0].strip()


def add(folder: Path, names: Iterable[str], known: Settings, work: Path) -> str:
    """Put these files of a folder into the cache; the pointer to them, as `.dvc` files hold it.

    DVC sees a copy in `work`, which must be on the checkout's disk: the folder itself is never touched.
    """
    with _repository(known, work) as place:
        for name in names:
            (place / folder.name / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, place / folder.name / name)
        _call("add", folder.name, at=place, where=str(known.cache))
        return (place / f"{folder.name}.dvc").read_text()


def carry(verb: str, pointers: Iterable[str], known: Settings, work: Path) -> str:
    """`fetch` what pointers name from the remote into the cache, or `push` it from the cache; DVC's last word.

    Raises Lacking, in one line, where the remote does not answer, is full or refuses.
    """
    with _repository(known, work) as place:
        names = []
        for number, pointer in enumerate(pointers):
            names.append(f"version-{number}.dvc")
            # DVC knows them apart by the folder that they are of.
            (place / names[-1]).write_text(
                re.sub(r"^( *path:).*", rf"\1 version-{number}", pointer, flags=re.MULTILINE)
            )
        return _call(verb, *names, at=place, where=known.url)


@contextmanager
def _repository(known: Settings, work: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"dvc-{hold.machine_tag()}-", dir=work) as name:
        place = Path(name)
        (place / ".dvc").mkdir()
        cache = {"dir": str(known.cache), **({"shared": "group"} if known.shared else {})}
        sections = {"core": {**QUIET, "remote": "given"}, "cache": cache, "'remote \"given\"'": known.remote}
        lines = [
            line
            for section, options in sections.items()
            if options
            for line in (f"[{section}]", *(f'{key} = "{value}"' for key, value in options.items()))
        ]
        (place / ".dvc/config").write_text("\n".join(lines) + "\n")
        yield place


def _call(*words: str, at: Path, where: str) -> str:
    own = {
        name: str(at / ".dvc/own") for name in ("DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR")
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    done = subprocess.run(
        [python(), "-I", "-c", STRICT, *words],
        cwd=at, env=inherited | own | {"DVC_NO_ANALYTICS": "true"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise Lacking(
            f"{where}: {_reason(done.stderr)}; see that it is there, has room and lets you in, then once more"
        )
    return (done.stdout.splitlines() or [""])[-1]


def _reason(said: str) -> str:
    """The cause that DVC tells first, without the names of its own files."""
    causes = re.findall(r"^ERROR: (?:unexpected error - |.*? - )?(.*)$", said, re.MULTILINE)
    cause = causes[0] if causes else (said.strip().splitlines() or ["no word"])[-1]
    return re.sub(r"^\[Errno \d+] ", "", cause.split(": '")[0]).strip()


@contextmanager
def work(root: Path, known: Settings) -> Iterator[Path]:
    """A folder on the checkout's disk, for one process at a time, without what a killed one has left.

    So is the cache, which other checkouts may share: DVC can't bring an object where another is just bringing it.
    """
    place = root / ".dvc/tmp"
    for folder in (place, known.cache):
        folder.mkdir(parents=True, exist_ok=True)
    if known.shared:
        with suppress(PermissionError):  # a teammate's is so already
            known.cache.chmod(0o2775)
    with hold.alone(place) as kept, hold.alone(known.cache):
        if kept:
            for leftover in hold.abandoned(place, "dvc-*"):
                shutil.rmtree(leftover)
        yield place


# ---- its environment ----


def python() -> Path:
    """The interpreter that has DVC, installed from its lock if it is not there yet.

    Raises Lacking, in one line, where that can't be done.
    """
    place = HOME / f"dvc-{_key()}"
    if not place.is_dir():
        HOME.mkdir(exist_ok=True)
        with hold.alone(HOME) as kept:
            if kept:
                for leftover in hold.abandoned(HOME, "dvc-*.new-*"):
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
    fresh = place.with_name(f"{place.name}.new-{hold.machine_tag()}-{secrets.token_hex(4)}")
    try:
        _uv("venv", "--no-project", "--python", sys.executable, str(fresh))
        words = ["--python", str(fresh), "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        _uv("pip", "install", *words, "--requirement", str(LOCK), *_wheelhouse(words))
        if not place.is_dir():
            fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _wheelhouse(words: list[str]) -> list[str]:
    """Asked before the index, and alone where it has all."""
    folder = os.environ.get("WHEELHOUSE") or os.environ.get("PIP_FIND_LINKS") or ""
    if not Path(folder).is_dir() or not folder:
        return []
    links = ["--find-links", str(Path(folder).resolve())]
    try:
        _uv("pip", "install", *words, "--requirement", str(LOCK), *links, "--no-index", "--dry-run")
    except Lacking:
        return links
    return [*links, "--no-index"]


def _uv(*words: str) -> None:
    own = {"UV_LINK_MODE": "copy"}
    if index := os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL"):
        own["UV_DEFAULT_INDEX"] = index
    if authority := os.environ.get("CA_CERT"):
        own["SSL_CERT_FILE"] = authority
    if not os.access(Path.home(), os.W_OK):
        own["UV_CACHE_DIR"] = str(HOME / "uv")
    command = ["uv", "--no-config", "--quiet", *words]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split())
        remedy = "behind a mirror set PIP_INDEX_URL, without a network WHEELHOUSE"
        raise Lacking(f"DVC could not be installed from {LOCK.relative_to(ROOT)} ({said}); {remedy}")
