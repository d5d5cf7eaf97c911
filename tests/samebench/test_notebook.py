"""`make notebook` and `make tensorboard` in the local runtime: real servers, real requests."""

import http.client
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

from samebench import service
from tests import soak

from . import server
from .checkout import ROOT, copy_checkout, run
from .server import Server, wait_for

# Prints every address pattern of the server that our options make; a process of its own, as it starts half of Jupyter.
PATTERNS = """
import json, os
from jupyterlab.labapp import LabApp
from samebench.notebook import options
from samebench.service import LOOPBACK
words = options(LOOPBACK, 0)
app = LabApp.initialize_server(argv=words[words.index("jupyterlab") + 1:])
rules = app.web_app.default_router.rules + app.web_app.wildcard_router.rules
leaves = [inner for rule in rules for inner in getattr(rule.target, "rules", [rule])]
found = {leaf.matcher.regex.pattern for leaf in leaves if hasattr(leaf.matcher, "regex")}
print(json.dumps(sorted(found)), flush=True)
os._exit(0)
"""
both = pytest.mark.parametrize("module", ["notebook", "tensorboard"])
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "a" * 22 + "=="}
UUID = "00000000-0000-0000-0000-000000000000"
# JupyterLab's licenses stumble over their own refusal (TypeError in its log) and never answer.
LICENSES = "/api/licenses/"
# What a login page is made of, and the server's version at /api; nothing that the token guards.
PUBLIC = re.compile(r"/(api$|login|logout|static/|robots\.txt|favicon\.ico|lab/extensions/|api/security/csp-report)")


def started(module: str, at: Path, **variables: str) -> AbstractContextManager[Server]:
    """The server of `module`, as make starts it in the checkout `at`."""
    return server.started(sys.executable, "-m", f"samebench.{module}", at=at, PYTHONPATH=f"{at}/src", **variables)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("notebook") / "my work")


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Server]:
    with started("notebook", checkout) as server:
        yield server


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """One address for each that the server knows."""
    done = subprocess.run([sys.executable, "-c", PATTERNS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [example(pattern) for pattern in json.loads(done.stdout.splitlines()[-1])]


def children(pid: int) -> list[int]:
    """The processes that `pid` has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def example(pattern: str) -> str:
    """An address that matches the pattern of a handler."""
    path = pattern.removesuffix("$").replace(r"(?:(?:/[^/]+)+|/?)", "/README.md")
    path = re.sub(r"\\w\+-\\w\+-\\w\+-\\w\+-\\w\+", UUID, path)
    path = path.replace(r"(?P<workspace>/workspaces/[a-zA-Z0-9\-\_]+)?(?P<tree>/tree/.*)?", "")
    path = re.sub(r"\(\?P<\w+>([^()]*)\)|\(([^()]*)\)", lambda found: found[1] or found[2], path)
    path = re.sub(r"\[[^]]*\]\+|\\w\+|\.\*", "x", path).replace("/?", "/").replace("\\", "")
    return path.split("|")[0] if path.startswith("/") else "/x"


def test_one_line_is_said_and_it_is_the_link(lab: Server) -> None:
    assert re.fullmatch(r"JupyterLab: http://127\.0\.0\.1:\d+/lab\?token=\S+   \(Ctrl-C ends it\)\n", lab.line)
    assert [line for line in lab.said.splitlines() if "is taken, using" not in line] == []


def test_link_opens_the_lab_and_nothing_else_is_needed(lab: Server) -> None:
    assert lab.ask("GET", "/lab", Authorization=f"token {lab.token}") == 200
    assert lab.ask("GET", lab.link.split(str(lab.port))[1]) in {200, 302}


@pytest.fixture(scope="module")
def old(checkout: Path) -> str:
    """The token of a server that has ended."""
    with started("notebook", checkout) as server:
        return server.token


def wrongs(old: str) -> Iterator[tuple[str, dict[str, str]]]:
    """What somebody may try who has not the token: what is added to the address, and headers."""
    yield "", {}
    for token in ("", "wrong", old):
        yield f"?token={token}", {}
        yield "", {"Authorization": f"token {token}"}
    yield "", {"Cookie": "username=x"}
    yield "", {"Host": "elsewhere.example"}
    yield "", {"Origin": "http://elsewhere.example"}


def test_every_handler_is_closed_without_the_token(lab: Server, paths: list[str], old: str) -> None:
    assert len(paths) > 50
    assert old != lab.token
    opened = [
        (method, path + query, headers, status)
        for path in paths
        if not PUBLIC.match(path) and LICENSES not in path
        for query, headers in wrongs(old)
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET")
        if not 300 <= (status := attempt(lab, method, path + query, headers)) < 600
    ]
    assert opened == []


def attempt(lab: Server, method: str, path: str, headers: dict[str, str]) -> int:
    """The status that `lab` answers with; an upgrade is a GET."""
    return lab.ask("GET", path, **headers, **UPGRADE) if method == "WEBSOCKET" else lab.ask(method, path, **headers)


def test_the_licenses_which_do_not_answer_are_closed_too(lab: Server, paths: list[str], old: str) -> None:
    (path,) = (path for path in paths if LICENSES in path)
    for headers in ({}, {"Authorization": f"token {old}"}):
        assert not 200 <= lab.ask("GET", path, **headers) < 300


def test_a_question_of_what_is_allowed_is_answered_with_nothing_for_other_pages(lab: Server, paths: list[str]) -> None:
    # Browsers ask before they have shown a token, so Jupyter answers them without one.
    asking = {"Origin": "http://elsewhere.example", "Access-Control-Request-Headers": "authorization"}
    for path in (path for path in paths if LICENSES not in path):
        with closing(http.client.HTTPConnection("127.0.0.1", lab.port, timeout=5)) as connection:
            connection.request("OPTIONS", path, headers=asking)
            reply = connection.getresponse()
            assert reply.headers["Access-Control-Allow-Origin"] is None, path
            assert reply.read() == b"" or reply.status >= 300, path


def test_the_same_handlers_open_with_the_token(lab: Server, paths: list[str]) -> None:
    key = {"Authorization": f"token {lab.token}"}
    answers = [lab.ask("GET", path, **key) for path in paths if "shutdown" not in path]
    assert sum(200 <= answer < 300 for answer in answers) > 15


def test_name_that_is_not_loopback_is_refused_even_with_the_token(lab: Server, paths: list[str]) -> None:
    foreign = {"Authorization": f"token {lab.token}", "Host": "elsewhere.example"}
    assert lab.ask("GET", "/api/status", **foreign) == 403
    opened = [path for path in paths if not PUBLIC.match(path) and 200 <= lab.ask("GET", path, **foreign) < 300]
    assert opened == []


def test_kernel_runs_with_the_locked_environment_and_the_project(lab: Server) -> None:
    assert lab.ask("GET", "/api/kernelspecs/python3", Authorization=f"token {lab.token}") == 200
    manager, client = start_new_kernel(env=dict(os.environ))
    reply = client.execute_interactive("import apparel, samebench, torch", timeout=60, output_hook=print)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok"


def test_setting_is_still_there_after_a_restart(checkout: Path) -> None:
    theme = "/lab/api/settings/@jupyterlab/apputils-extension:themes"
    raw = '{"theme": "JupyterLab Dark"}'
    with started("notebook", checkout) as first:
        first.exchange("PUT", theme, {"raw": raw})
    with started("notebook", checkout) as second:
        assert second.exchange("GET", theme)["raw"] == raw


def test_kernel_that_cannot_start_is_said_and_the_server_ends(checkout: Path, tmp_path: Path) -> None:
    broken = tmp_path / "kernels/python3/kernel.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(json.dumps({"argv": ["false"], "display_name": "Broken", "language": "python"}))
    variables = {"JUPYTER_PATH": str(tmp_path), "PYTHONPATH": f"{checkout}/src"}
    done = run([sys.executable, "-m", "samebench.notebook"], cwd=checkout, variables=variables)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith("error: no kernel can start")


def test_open_gives_the_link_to_the_browser(checkout: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{tmp_path}/part"\nmv "{tmp_path}/part" "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    with started("tensorboard", checkout, OPEN="1", BROWSER=str(browser)) as board:
        wait_for(tmp_path / "opened")
        assert (tmp_path / "opened").read_text() == f"{board.link}\n"


def test_settings_stay_in_the_checkout(lab: Server, checkout: Path) -> None:
    assert {path.name for path in (checkout / ".samebench/jupyter").iterdir()} >= {"config", "data", "settings"}


def test_taken_port_is_stepped_over_and_tokens_differ(lab: Server, checkout: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started("notebook", checkout, PORT=str(port)) as other:
            assert other.port > port
            assert other.token != lab.token
            assert min(len(other.token), len(lab.token)) * 6 >= 128, "bits, at six a character"
            assert other.ask("GET", "/api/status", Authorization=f"token {lab.token}") == 403


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_starts_have_a_hundred_tokens(checkout: Path) -> None:
    tokens, took = set(), []
    for _ in range(100):
        begun = time.monotonic()
        with started("notebook", checkout) as one:
            took.append(time.monotonic() - begun)
            tokens.add(one.token)
    assert len(tokens) == 100
    middle = f"median {statistics.median(took):.1f} s to the link, load {os.getloadavg()[0]:.1f}"
    soak.record("a_hundred_starts_have_a_hundred_tokens", f"{len(tokens)} of 100, {middle}")


@both
def test_wedged_server_is_unhealthy_and_a_ready_one_healthy(checkout: Path, tmp_path: Path, module: str) -> None:
    health = [sys.executable, "-m", f"samebench.{module}", "--health"]
    variables = {"TMPDIR": str(tmp_path), "PYTHONPATH": str(checkout / "src")}
    assert run(health, cwd=checkout, variables=variables).returncode == 1
    with started(module, checkout, TMPDIR=str(tmp_path)) as server:
        assert run(health, cwd=checkout, variables=variables).returncode == 0
        child = children(server.process.pid)[0]
        os.kill(child, signal.SIGSTOP)
        begun = time.monotonic()
        assert run(health, cwd=checkout, variables=variables).returncode == 1
        assert time.monotonic() - begun < 30
        os.kill(child, signal.SIGCONT)


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"TOKEN": ""}, "the token can't be chosen or left out"),
        ({"JUPYTER_TOKEN": ""}, "the token can't be chosen or left out"),
        ({"JUPYTER_TOKEN": "mine"}, "the token can't be chosen or left out"),
        ({"PORT": "http"}, "PORT=http: give a number from 1024 to 65535"),
        ({"PORT": "80"}, "PORT=80: give a number from 1024 to 65535"),
    ],
)
def test_wrong_use_is_refused_in_one_line(checkout: Path, variables: dict[str, str], line: str) -> None:
    done = run([sys.executable, "-m", "samebench.notebook"], cwd=checkout, variables=variables)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_token_switched_off_in_the_settings_is_refused(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "open")
    config = checkout / ".samebench/jupyter/config"
    config.mkdir(parents=True)
    (config / "jupyter_server_config.py").write_text("c.IdentityProvider.token = ''\n")
    done = run([sys.executable, "-m", "samebench.notebook"], cwd=checkout, variables={"PYTHONPATH": f"{checkout}/src"})
    assert done.returncode == 2
    assert "JupyterLab lets everybody in" in done.stderr


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["told", "terminal closed"])
def test_stopped_server_leaves_no_process_and_no_file(
    checkout: Path, tmp_path: Path, module: str, number: signal.Signals
) -> None:
    with started(module, checkout, TMPDIR=str(tmp_path)) as server:
        started_by_it = children(server.process.pid)
        assert started_by_it
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
    assert not [pid for pid in started_by_it if Path(f"/proc/{pid}").exists()]
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_answers_under_its_secret_path_alone(checkout: Path) -> None:
    with started("tensorboard", checkout) as board:
        assert board.line.startswith("TensorBoard: http://127.0.0.1:")
        assert board.said == ""
        secret = "/" + board.link.split("/")[3]
        assert len(secret) * 6 >= 128
        assert board.ask("GET", f"{secret}/") == 200
        for path in ("/", "/data/runs", "/x" + secret, secret[:-1] + "/", "/index.html", "/data/plugins_listing"):
            assert not 200 <= board.ask("GET", path) < 400, path


# Tells a server to stop when the line counted from its link on is reached, each of the first in turn.
STOPPED = """
import signal, sys
from samebench import service

def announce():
    sys.settrace(count)
    return "Server: link"

def count(frame, event, argument):
    global left
    left -= event == "line"
    if not left:
        sys.settrace(None)
        left = -1
        signal.raise_signal(signal.SIGINT)
    return count

for left in range(1, 60):
    assert service.serve(["sleep", "60"], environment={}, ready=lambda: True, announce=announce) == 0
"""


def test_server_ends_at_whatever_moment_it_is_told_to() -> None:
    done = run([sys.executable, "-c", STOPPED], cwd=ROOT, variables={"PYTHONPATH": f"{ROOT}/src"}, timeout=30)
    assert done.returncode == 0, done.stderr


@both
def test_secret_is_in_no_command_line(checkout: Path, module: str) -> None:
    with started(module, checkout) as server:
        pids = [server.process.pid, *children(server.process.pid)]
        lines = " ".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)
        assert len(pids) > 1
        assert max(re.split("[/=]", server.link), key=len) not in lines


def test_loopback_is_asked_without_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(5)
        assert service.answer(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=0.2) == 0
        asked, _ = server.accept()
        asked.close()
