"""What make notebook lets through to JupyterLab's command line."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import websocket

from samebench.core.command import UsageError
from samebench.workspace.jupyter_options import parse

from . import server
from .checkout import run
from .fakes import SCRIPT, SERVER, fake_engines
from .proxy import Proxy, proxied
from .server import Server
from .servers import checkout

__all__ = ["checkout"]  # fixtures

NAME = "bench.example"  # of the proxy


@pytest.mark.parametrize(
    "words",
    [
        "--ServerApp.token=",
        "--IdentityProvider.token=x",
        "--ServerApp.password=x",
        "--PasswordIdentityProvider.hashed_password=x",
        "--ServerApp.ip=0.0.0.0",
        "--ip 0.0.0.0",
        "--ServerApp.sock=/tmp/sock",
        "--port=9000",
        "--KernelManager.transport=tcp",
        "--ServerApp.allow_origin=*",
        "--ServerApp.allow_origin_pat=.*",
        "--ServerApp.allow_unauthenticated_access=True",
        "--ServerApp.disable_check_xsrf=True",
        "--ServerApp.identity_provider_class=jupyter_server.auth.IdentityProvider",
        "--ServerApp.cookie_secret=x",
        "--ServerApp.tornado_settings={}",
        "--config=elsewhere.py",
        "--ServerApp.root_dir=/",
        "--allow-root",
        "--generate-config",
    ],
)
def test_what_would_open_the_server_or_move_it_is_refused_by_name(words: str) -> None:
    with pytest.raises(UsageError, match=r"^--\w+\.\w+(=\S+)?: .*; (leave it out|put a proxy|name )"):
        parse(words.split())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--nosuch=1", "--nosuch: JupyterLab has no such option; make notebook ARGS=--help-all lists them"),
        ("--ServerApp.base_ulr=/x/", "did you mean --ServerApp.base_url?"),
        ("--NoSuch.thing=1", "--NoSuch.thing: JupyterLab has no such option"),
        ("--ServerApp.base_url", "expected one argument"),
        ("--ServerApp.base_url=/a --ServerApp.base_url=/b", "only accepts one value"),
        ("--ServerApp.shutdown_no_activity_timeout=soon", "invalid literal for int"),
        ("--ServerApp.base_url=/../x/", "give a path of letters"),
        ("--ServerApp.base_url=https://host/x", "give a path of letters"),
        ("password", "password: give options only"),
        ("-- --ServerApp.token=", "give options only"),
    ],
)
def test_what_jupyterlab_does_not_know_is_refused_in_one_line(words: str, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse(words.split())
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        "--debug",
        "--collaborative",
        "--ServerApp.allow_origin=https://bench.example",
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.iopub_data_rate_limit=1e8",
        "--ServerApp.jpserver_extensions=jupyterlab_git=True",
        "--MappingKernelManager.cull_idle_timeout=600",
        "--TerminalManager.cull_inactive_timeout=600",
        "--LabApp.default_url=/lab/tree/notebooks",
    ],
)
def test_what_is_the_users_choice_goes_through(words: str) -> None:
    assert parse(words.split()).words == (words,)


@pytest.mark.parametrize("value", ["bench", "/bench", "bench/", "/bench/"])
def test_a_base_url_has_a_slash_at_both_ends(value: str) -> None:
    assert parse([f"--ServerApp.base_url={value}"]).base_url == "/bench/"


def test_a_refused_option_ends_make_notebook_with_code_2_and_one_line(checkout: Path) -> None:
    words = [sys.executable, "-m", "samebench.workspace.notebook", "--ServerApp.token="]
    done = run(words, cwd=checkout, variables={"PYTHONPATH": f"{checkout}/src"})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --ServerApp.token: who has the token comes in, and nobody else; leave it out\n"


def test_the_engine_asks_for_the_health_without_the_options(checkout: Path, tmp_path: Path) -> None:
    fake_engines(tmp_path, docker=SERVER)
    module = "python -m samebench.workspace.notebook"
    for words in (
        module,
        f"{module} --ServerApp.base_url=/bench/",
        f"python -m samebench.environment.overlay {module}",
    ):
        command = [*SCRIPT, "--serve", "8888", *words.split()]
        assert run(command, cwd=checkout, path=tmp_path).returncode == 0
        asked = (checkout / "asked").read_text().splitlines()
        assert asked[asked.index("--health-cmd") + 1] == f"{words.split(' --')[0]} --health"


# ---- behind a proxy ----


@pytest.fixture(scope="module")
def lab(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server below /bench/ whose pages a proxy shows under another name; its TMPDIR is too long for sockets."""
    temporary = tmp_path_factory.mktemp("temporary-files-of-a-user-with-a-long-name" + "x" * 40)
    words = (sys.executable, "-m", "samebench.workspace.notebook", "--ServerApp.base_url=/bench/")
    options = (f"--ServerApp.local_hostnames={NAME}",)
    with server.started(*words, *options, at=checkout, PYTHONPATH=f"{checkout}/src", TMPDIR=str(temporary)) as started:
        yield started


@pytest.fixture(scope="module")
def proxy(lab: Server) -> Iterator[Proxy]:
    with proxied("/bench/", lab.port, name=NAME) as running:
        yield running


def test_the_link_and_the_health_check_have_the_path(lab: Server, checkout: Path) -> None:
    assert f":{lab.port}/bench/lab?token=" in lab.link
    assert lab.ask("GET", lab.link.split(str(lab.port))[1]) in {200, 302}
    words = [sys.executable, "-m", "samebench.workspace.notebook", "--health"]
    assert run(words, cwd=checkout, variables={"PYTHONPATH": f"{checkout}/src"}).returncode == 0


def test_behind_a_proxy_the_token_is_asked_for(lab: Server, proxy: Proxy) -> None:
    for path in ("lab", "api/contents", "tensorboard/"):
        assert proxy.ask(f"/bench/{path}", Authorization=f"token {lab.token}") == 200, path
        assert proxy.ask(f"/bench/{path}") in {302, 403}, path


def run_in_kernel(kernel: Any, code: str) -> str:
    """What the `code` prints in the kernel behind this websocket; what came until then if the kernel dies.

    The end is the kernel's "idle", which travels behind the output; the reply travels beside it and may come before.
    """
    header = {"msg_id": code, "username": "", "session": "s", "msg_type": "execute_request", "version": "5.3"}
    content = {"code": code, "silent": False}
    message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    kernel.send(json.dumps(message))
    printed = ""
    while True:
        reply = json.loads(kernel.recv())
        if reply["msg_type"] == "stream":
            printed += reply["content"]["text"]
        state = reply["content"].get("execution_state")
        if state in {"restarting", "dead"} or (state == "idle" and reply["parent_header"].get("msg_id") == code):
            return printed


def test_a_kernel_answers_through_the_proxy_and_the_terminal_says_that_it_was_killed(lab: Server, proxy: Proxy) -> None:
    made = lab.exchange("POST", "/bench/api/kernels", {"name": "python3"})
    address = f"ws://127.0.0.1:{proxy.port}/bench/api/kernels/{made['id']}/channels"
    page: dict[str, Any] = {"host": NAME, "origin": f"http://{NAME}", "timeout": 60}
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        websocket.create_connection(address, **page)
    with closing(websocket.create_connection(f"{address}?token={lab.token}", **page)) as kernel:
        assert run_in_kernel(kernel, "print(6 * 7)") == "42\n"
        run_in_kernel(kernel, "import os; os.kill(os.getpid(), 9)")
    assert lab.stderr
    (line,) = [line for line in lab.stderr.read_text().splitlines() if "kernel" in line]
    assert line.startswith("samebench: a kernel was killed (SIGKILL): ")
    assert "memory" in line
