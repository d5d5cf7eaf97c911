"""A team on one machine: checkouts of one repository, a remote for the data, and a real SSH server."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from samebench.core.command import RequirementError
from samebench.core.paths import ROOT
from samebench.data import checkout, dvc, versions
from samebench.project import UpstreamFetcher
from tests.commands import lacking

NAME = "shoes"
PAUSES = (2.0, 5.0, 10.0)
FIRST = {"images": b"first images" * 50, "labels": b"first labels"}
SECOND = {"images": b"second images" * 50, "labels": FIRST["labels"]}

# Whoever runs the tests, whatever their git is set to.
GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
GIT |= {f"GIT_{who}_{what}": "member@team" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(scope="session")
def with_dvc() -> Path:
    """DVC's interpreter, installed once for all tests; the only one of their steps that may need a network."""
    for pause in (*PAUSES, None):
        try:
            return dvc.python()
        except RequirementError as reason:
            if pause is None:
                lacking(str(reason))
            time.sleep(pause)
    raise AssertionError


@dataclass(frozen=True)
class Member:
    """A checkout in `root`, with data/shoes in it and a cache of its own."""

    root: Path

    @property
    def folder(self) -> Path:
        return self.root / "data" / NAME

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", *words], cwd=self.root, env=os.environ | GIT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, contents: Mapping[str, bytes]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (self.folder / name).write_bytes(content)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def record(self, contents: Mapping[str, bytes]) -> str:
        """What make data-add and git commit do; the commit."""
        self.write(contents)
        versions.add(NAME, root=self.root)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "data")
        return self.git("rev-parse", "HEAD")

    def push(self) -> str:
        return versions.push(NAME, root=self.root).url

    def bring(self, *, public: UpstreamFetcher | None = None) -> bool:
        return checkout.check_out(
            versions.load_version(NAME, root=self.root), self.folder, root=self.root, public=public
        )

    def clone(self, to: Path) -> "Member":
        """A teammate's checkout, without a byte of the data."""
        self.git("clone", "--quiet", str(self.root), str(to))
        return Member(to)

    def objects(self) -> list[Path]:
        return sorted(path for path in (self.root / ".dvc/cache").rglob("*") if path.is_file())

    def is_clean(self) -> bool:
        """Whether nothing half done is left."""
        return not [*self.folder.glob(".*"), *(self.root / ".dvc/tmp").glob("dvc-*")]


def init_checkout(root: Path) -> Member:
    """The first checkout, which ignores what a real one does."""
    root.mkdir(parents=True)
    member = Member(root)
    member.git("init", "--quiet", "--initial-branch", "main")
    (root / ".gitignore").write_text("/data/*/\n/.dvc/*\n!/.dvc/config\n")
    (root / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    return member


@contextmanager
def ssh_server(home: Path, *, host: str = "127.0.0.1") -> Iterator[str]:
    """A real sshd at `host`; `HOME` must be `home` for those who want to be let in. Gives the address of its folder.

    Skips where there is none.
    """
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        lacking("no sshd on this machine: install openssh-server")
    keys = home / ".ssh"
    keys.mkdir(parents=True, mode=0o700)
    for name in ("id_ed25519", "host"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)]
        subprocess.run(words, check=True)
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    (keys / "known_hosts").write_text(f"[{host}]:{port} {(keys / 'host.pub').read_text()}")
    (keys / "sshd_config").write_text(
        f"Port {port}\nListenAddress {host}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/id_ed25519.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it insists on locking its children up
    server = subprocess.Popen([sshd, "-D", "-e", "-f", str(keys / "sshd_config")], stderr=subprocess.DEVNULL)
    try:
        _wait(host, port)
        yield f"ssh://{getpass.getuser()}@{host}:{port}{home}/remote"
    finally:
        server.terminate()
        server.wait()


def _wait(host: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, "sshd does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(params=["a directory", "over SSH"])
def remote(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the team's remote, which DATA_REMOTE names as a directory or by its address."""
    folder = tmp_path / "home/remote"
    if request.param == "a directory":
        folder.mkdir(parents=True)
        monkeypatch.setenv("DATA_REMOTE", str(folder))
        yield folder
        return
    with ssh_server(tmp_path / "home") as address:
        folder.mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        monkeypatch.setenv("DATA_REMOTE", address)
        yield folder


@pytest.fixture
def member(tmp_path: Path, with_dvc: Path) -> Member:
    return init_checkout(tmp_path / "one of us")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A remote that is a directory."""
    folder = tmp_path / "remote"
    folder.mkdir()
    monkeypatch.setenv("DATA_REMOTE", str(folder))
    return folder


def forbid_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    def python() -> Path:
        raise AssertionError("DVC was asked")

    monkeypatch.setattr(dvc, "python", python)


def flip(path: Path, place: int = 5) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
