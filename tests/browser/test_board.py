"""TensorBoard inside JupyterLab in a real browser: curves and pictures of a run that is under way."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from samebench.training import train
from tests import node
from tests.commands import lacking
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.server import started
from tiny.settings import Settings

# TensorBoard asks for its typeface at the root of the host, wherever it is itself; it does without.
TYPEFACE = "/font-roboto/"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the browser saw of a lab with one run."""
    chromium = shutil.which("chromium") or lacking("no chromium here to look with")
    node.installed("playwright-core")
    checkout = copy_checkout(tmp_path_factory.mktemp("browser") / "my work")
    settings = Settings(data="synthetic", epochs=3, network="linear", batch_size=100, shards=2, lr=0.01)
    known = train.train(settings, runs=checkout / "runs")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    here = {"SAMEBENCH": "1", "PATH": path, "PYTHONPATH": str(checkout / "src")}
    with started("make", "notebook", at=checkout, **here) as server:
        look: list[str | Path] = ["node", node.HOME / "board.mjs", server.link, checkout / "picture.png"]
        done = run(look, cwd=checkout, variables={"CHROMIUM": chromium})
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "host": f"127.0.0.1:{server.port}", "run": known.directory.name}


def test_curves_and_pictures_are_drawn_in_a_frame_of_the_lab(seen: dict[str, Any]) -> None:
    assert seen["images"], "a picture of its own size, loaded"
    assert min(seen["images"]) > 300
    for word in (seen["run"], "confusion_matrix", "validation_loss", "validation_accuracy"):
        assert word in seen["text"]


def test_nothing_fails_and_no_other_host_is_asked(seen: dict[str, Any]) -> None:
    assert seen["errors"] == []
    assert [line for line in seen["failed"] if TYPEFACE not in line] == []
    assert {urlsplit(url).netloc for url in seen["requests"]} <= {seen["host"], ""}, "data: addresses have no host"
