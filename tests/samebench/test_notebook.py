"""`make notebook` in the local runtime: a real server, real requests, and nothing for who has no token."""

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import start_new_kernel

from .checkout import ROOT
from .server import Server
from .servers import checkout, started

__all__ = ["checkout"]  # fixtures

# Prints every address pattern of the server that our options make; a process of its own, as it starts half of Jupyter.
PATTERNS = """
import json, os
from jupyterlab.labapp import LabApp
from samebench.workspace.notebook import options
from samebench.core.local_server import LOOPBACK
words = options(LOOPBACK, 0)
app = LabApp.initialize_server(argv=words[words.index("jupyterlab") + 1:])
rules = app.web_app.default_router.rules + app.web_app.wildcard_router.rules
leaves = [inner for rule in rules for inner in getattr(rule.target, "rules", [rule])]
found = {leaf.matcher.regex.pattern for leaf in leaves if hasattr(leaf.matcher, "regex")}
print(json.dumps(sorted(found)), flush=True)
os._exit(0)
"""
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
UPGRADE |= {"Sec_WebSocket_Key": "a" * 22 + "=="}
UUID = "00000000-0000-0000-0000-000000000000"
# JupyterLab's licenses stumble over their own refusal (TypeError in its log) and never answer.
LICENSES = "/api/licenses/"
# What a login page is made of, and the server's version at /api; nothing that the token guards.
PUBLIC = re.compile(r"/(api$|login|logout|static/|robots\.txt|favicon\.ico|lab/extensions/|api/security/csp-report)")


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


@pytest.mark.project("")  # that of the checkout, as for a user
def test_kernel_runs_with_the_locked_environment_and_the_project(lab: Server) -> None:
    assert lab.ask("GET", "/api/kernelspecs/python3", Authorization=f"token {lab.token}") == 200
    manager, client = start_new_kernel(env=dict(os.environ))
    code = "import torch; from samebench import project; __import__(project.name())"
    reply = client.execute_interactive(code, timeout=60, output_hook=print)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok"


def test_every_export_that_is_offered_works(lab: Server) -> None:
    cell: dict[str, object] = {
        "cell_type": "code",
        "source": "1",
        "outputs": [],
        "metadata": {},
        "execution_count": None,
        "id": "a",
    }
    text = {"cell_type": "markdown", "source": "# *Title* $x$", "metadata": {}, "id": "b"}
    language = {"language_info": {"name": "python", "file_extension": ".py"}}
    notebook = {"cells": [text, cell], "metadata": language, "nbformat": 4, "nbformat_minor": 5}
    lab.exchange("PUT", "/api/contents/export.ipynb", {"type": "notebook", "content": notebook})
    hidden = {"custom", "notebook", "python"}  # JupyterLab leaves these out of its menu
    offered = set(lab.exchange("GET", "/api/nbconvert")) - hidden
    assert offered >= {"html", "markdown", "script", "slides"}
    key = f"?download=true&token={lab.token}"
    for name in sorted(offered):
        with urllib.request.urlopen(
            f"http://127.0.0.1:{lab.port}/nbconvert/{name}/export.ipynb{key}", timeout=60
        ) as reply:
            assert reply.read(), name


def test_progress_bars_of_notebooks_are_widgets() -> None:
    manager, client = start_new_kernel(env=dict(os.environ))
    lines: list[str] = []

    def collect(message: dict[str, Any]) -> None:
        lines.append(json.dumps(message["content"]))

    code = "from tqdm.auto import tqdm\nfor each in tqdm(range(3)): pass"
    reply = client.execute_interactive(code, timeout=60, output_hook=collect)
    client.stop_channels()
    manager.shutdown_kernel(now=True)
    assert reply["content"]["status"] == "ok"
    assert any("application/vnd.jupyter.widget-view+json" in line for line in lines)
    assert not any("IProgress not found" in line for line in lines)


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
