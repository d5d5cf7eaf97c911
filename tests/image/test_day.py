"""A day in the workspace, through every shell that there is: make shell, JupyterLab's terminal and the devcontainer."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
import websocket

from tests.commands import open_to_others
from tests.samebench import server
from tests.samebench.checkout import ROOT, run
from tests.samebench.team_checkouts import ssh_server
from tests.samebench.test_hook import make_clone

from .conftest import as_user, give
from .test_devcontainer import Devcontainer, client, close

__all__ = ["client"]  # fixtures

pytestmark = [pytest.mark.soak, pytest.mark.timeout(900)]  # a compiler and torch's headers take minutes

DAY = ".samebench/day"  # in the checkout: the script, and the keys of somebody who may push
END = "the day is over"
USERS = (0, 1000, 1001, 1234, 65534)


@pytest.fixture(scope="module")
def address(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The team's repository, behind a real sshd that containers reach."""
    folder = tmp_path_factory.mktemp("team")
    gateway = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
    with ssh_server(folder / "home", host=gateway) as remote:
        clone = make_clone(folder / "clone")
        shutil.rmtree(clone / "tests")
        (clone / "tests").mkdir()
        (clone / "tests/__init__.py").touch()
        (clone / "tests/test_one.py").write_text('"""One."""\n\n\ndef test_one() -> None:\n    assert True\n')
        for words in (["add", "--all"], ["commit", "--quiet", "--message", "Second"]):
            subprocess.run(
                ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", *words], cwd=clone, check=True
            )
        subprocess.run(["git", "clone", "--quiet", "--bare", clone, folder / "home/remote"], check=True)
        yield remote


def checkout_of(uid: int, address: str, folder: Path) -> tuple[Path, str]:
    """A checkout of the user with what the day needs in it, and the command line that starts the day."""
    open_to_others(folder)
    checkout = make_clone(folder / "work")
    shutil.copytree(ROOT / ".devcontainer", checkout / ".devcontainer")
    (checkout / DAY).mkdir(parents=True)
    shutil.copy(ROOT / "tests/image/day.sh", checkout / DAY)
    keys = Path(urlsplit(address).path).parent / ".ssh"
    for name in ("id_ed25519", "id_ed25519.pub", "known_hosts"):
        shutil.copy(keys / name, checkout / DAY)
    if os.getuid() != uid:
        give(folder, uid=uid, gid=uid)
    return checkout, f"bash /workspace/{DAY}/day.sh {address} /workspace/{DAY}"


def assert_all_done(said: str) -> None:
    """Every step is there, and went well."""
    steps = [line.strip() for line in said.splitlines() if line.startswith("step ")]
    assert END in said
    assert len(steps) > 18
    assert [line for line in steps if not line.endswith(": ok")] == []


@pytest.mark.parametrize("uid", USERS)
def test_a_day_in_make_shell(image: str, address: str, tmp_path: Path, uid: int) -> None:
    checkout, line = checkout_of(uid, address, tmp_path)
    words = [*as_user(uid), "sh", "-c", f"echo '{line}' | make shell RUNTIME=docker"]
    done = run(words, cwd=checkout, timeout=900, variables={"HOME": str(tmp_path)})
    assert_all_done(done.stdout)


def test_a_day_in_jupyterlabs_terminal(image: str, address: str, tmp_path: Path) -> None:
    checkout, line = checkout_of(os.getuid(), address, tmp_path)
    with server.started("make", "notebook", "RUNTIME=docker", at=checkout) as lab:
        made = lab.exchange("POST", "/api/terminals")
        where = f"ws://127.0.0.1:{lab.port}/terminals/websocket/{made['name']}?token={lab.token}"
        with closing(websocket.create_connection(where, timeout=300)) as terminal:
            said = type_in(terminal, line)
    assert_all_done(said)


def type_in(terminal: websocket.WebSocket, line: str) -> str:
    """What the terminal shows until the day is over, for at most a quarter of an hour."""
    terminal.send(json.dumps(["set_size", 50, 1000]))
    terminal.send(json.dumps(["stdin", f"{line}\r"]))
    said, deadline = "", time.monotonic() + 900
    while END not in said and time.monotonic() < deadline:
        kind, *content = json.loads(terminal.recv())
        said += content[0] if kind == "stdout" else ""
    return said


def test_a_day_in_the_devcontainer(
    image: str, engine: docker.DockerClient, client: Path, address: str, tmp_path: Path
) -> None:
    checkout, line = checkout_of(1000, address, tmp_path)
    devcontainer = Devcontainer(client, uid=1000, checkout=checkout)
    try:
        up = devcontainer.call("up")
        assert up.returncode == 0, up.stderr[-3000:]
        done = devcontainer.call("exec", "bash", "-lc", line)
        assert_all_done(done.stdout)
    finally:
        close(engine, checkout)
