"""`make notebook` and `make tensorboard` in the local runtime: how they start, are watched, refuse and end."""

import json
import os
import re
import signal
import socket
import statistics
import sys
import time
from pathlib import Path

import pytest

from samebench.core import local_server
from tests import soak

from .checkout import ROOT, copy_checkout, run
from .server import wait_for
from .servers import both, checkout, children, short_folder, started

__all__ = ["checkout", "short_folder"]  # fixtures


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
    done = run([sys.executable, "-m", "samebench.workspace.notebook"], cwd=checkout, variables=variables)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].startswith("error: no kernel can start")


def test_open_gives_the_link_to_the_browser(checkout: Path, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >"{tmp_path}/part"\nmv "{tmp_path}/part" "{tmp_path}/opened"\n')
    browser.chmod(0o755)
    with started("tensorboard", checkout, OPEN="1", BROWSER=str(browser)) as board:
        wait_for(tmp_path / "opened")
        assert (tmp_path / "opened").read_text() == f"{board.link}\n"


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
def test_wedged_server_is_unhealthy_and_a_ready_one_healthy(checkout: Path, short_folder: Path, module: str) -> None:
    health = [sys.executable, "-m", f"samebench.workspace.{module}", "--health"]
    variables = {"TMPDIR": str(short_folder), "PYTHONPATH": str(checkout / "src")}
    assert run(health, cwd=checkout, variables=variables).returncode == 1
    with started(module, checkout, TMPDIR=str(short_folder)) as server:
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
    done = run([sys.executable, "-m", "samebench.workspace.notebook"], cwd=checkout, variables=variables)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_token_switched_off_in_the_settings_is_refused(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "open")
    config = checkout / ".samebench/jupyter/config"
    config.mkdir(parents=True)
    (config / "jupyter_server_config.py").write_text("c.IdentityProvider.token = ''\n")
    done = run(
        [sys.executable, "-m", "samebench.workspace.notebook"],
        cwd=checkout,
        variables={"PYTHONPATH": f"{checkout}/src"},
    )
    assert done.returncode == 2
    assert "JupyterLab lets everybody in" in done.stderr


@both
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["told", "terminal closed"])
def test_stopped_server_leaves_no_process_and_no_file(
    checkout: Path, short_folder: Path, module: str, number: signal.Signals
) -> None:
    with started(module, checkout, TMPDIR=str(short_folder)) as server:
        started_by_it = children(server.process.pid)
        assert started_by_it
        server.process.send_signal(number)
        assert server.process.wait(10) == 0
    assert not [pid for pid in started_by_it if Path(f"/proc/{pid}").exists()]
    assert list(short_folder.iterdir()) == []


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
from samebench.core import local_server as service

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
        assert local_server.answer(f"http://127.0.0.1:{server.getsockname()[1]}/", seconds=0.2) == 0
        asked, _ = server.accept()
        asked.close()


# A server that ends by itself before it answers, with the code that is given.
ENDED = """
import os, sys
from samebench.core import command, local_server as service

def main(words):
    return service.serve(
        [sys.executable, "-c", f"raise SystemExit({words[0]})"],
        environment=os.environ,
        ready=lambda: False,
        announce=lambda: "Server: http://127.0.0.1:1/",
    )

command.run(main)
"""


@pytest.mark.parametrize("code", ["0", "1"])
def test_a_server_that_ends_before_it_answers_is_no_success_and_has_no_link(checkout: Path, code: str) -> None:
    done = run([sys.executable, "-c", ENDED, code], cwd=checkout, variables={"PYTHONPATH": f"{checkout}/src"})
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"error: the server ended with code {code} before it answered; see above\n"
