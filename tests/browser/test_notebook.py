"""JupyterLab in a real browser, by the link that `make notebook` prints."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests import node
from tests.commands import lacking
from tests.notebooks.test_notebooks import assert_shown
from tests.samebench.checkout import ROOT, copy_checkout, run
from tests.samebench.server import started

NOTEBOOK = "notebooks/01-look-at-the-data.ipynb"
# JupyterLab's own, at a level that browsers hide: that it starts, and which kernel it calls.
TOLERATED = re.compile(r"debug: Starting (application in workspace|WebSocket): ")

Seen = dict[str, Any]

pytestmark = pytest.mark.project("apparel")  # the notebooks are its own


def make_notebook(runtime: str, checkout: Path) -> tuple[list[str], dict[str, str]]:
    """The command and its variables; `here` is where these tests run, as in `make shell`, but in `checkout`."""
    if runtime == "here":
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        here = {"SAMEBENCH": "1", "PATH": path, "PYTHONPATH": str(checkout / "src")}
        return ["make", "notebook"], {**here, "DATA": "synthetic"}
    if not shutil.which("docker") or run(["docker", "info"], cwd=ROOT).returncode:
        lacking("no Docker engine answers here")
    if not (ROOT / "data/fashion-mnist").is_dir():
        pytest.skip("data/fashion-mnist is not there: make data")
    return ["make", "notebook", "RUNTIME=docker"], {}


@pytest.fixture(scope="module", params=["here", pytest.param("docker", marks=pytest.mark.soak)])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the browser saw without the token and with it, and what JupyterLab saved."""
    chromium = shutil.which("chromium") or lacking("no chromium here to look with")
    node.installed("playwright-core")
    checkout = copy_checkout(tmp_path_factory.mktemp("browser") / "my work")
    command, variables = make_notebook(request.param, checkout)
    if request.param == "docker":
        shutil.copytree(ROOT / "data/fashion-mnist", checkout / "data/fashion-mnist")
    with started(*command, at=checkout, **variables) as server:
        look: list[str | Path] = ["node", node.HOME / "notebook.mjs", server.link, checkout / "picture.png"]
        done = run(look, cwd=checkout, variables={"CHROMIUM": chromium})
    assert done.returncode == 0, done.stderr
    assert (checkout / "picture.png").stat().st_size > 50_000
    return {**json.loads(done.stdout), "host": f"127.0.0.1:{server.port}", "checkout": checkout}


def test_all_cells_of_a_notebook_run_and_their_figures_are_seen(seen: Seen) -> None:
    saved = json.loads((seen["checkout"] / NOTEBOOK).read_text())
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert_shown(Path(NOTEBOOK), outputs)
    assert seen["inside"]["figures"] == len([output for output in outputs if "image/png" in output.get("data", {})])


def test_console_is_clean_and_nothing_fails_to_load(seen: Seen) -> None:
    assert [line for line in seen["inside"]["console"] if not TOLERATED.match(line)] == []
    assert seen["inside"]["failed"] == []


def test_no_other_host_is_asked_for_anything_and_nobody_is_asked_about_news(seen: Seen) -> None:
    asked = seen["inside"]["requests"] + seen["outside"]["requests"]
    assert len(asked) > 50
    assert {urlsplit(url).netloc for url in asked} <= {seen["host"], ""}, "data: addresses have no host"
    assert "news" not in seen["inside"]["text"].lower()


def test_without_the_token_there_is_the_login_page_and_nothing_else(seen: Seen) -> None:
    outside = seen["outside"]
    assert urlsplit(outside["address"]).path == "/login"
    assert "Log in" in outside["text"]
    asked = [urlsplit(url).path for url in outside["requests"]]
    assert [path for path in asked[1:] if not re.match("/(login$|static/)", path)] == []
    assert [line for line in outside["console"] if not line.startswith("verbose: ")] == [], "a hint on autocompletion"
    assert outside["failed"] == []
