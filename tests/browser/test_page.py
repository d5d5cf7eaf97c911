"""The server's page in a real browser, on a desk and on a phone."""

import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samebench.serving.artifact import Artifact
from tests import node
from tests.commands import lacking
from tests.samebench import checkout
from tests.serving.conftest import artifact, encoded, end, folder, images, probabilities, run, start

__all__ = ["artifact", "folder", "images", "run"]  # fixtures

Seen = dict[str, Any]


@pytest.fixture(scope="module")
def seen(folder: Path, artifact: Artifact, images: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the browser saw on a desk, on a phone, and of both once the server was gone; and what was right."""
    chromium = shutil.which("chromium") or lacking("no chromium here to look with")
    node.installed("playwright-core")
    here = tmp_path_factory.mktemp("page")
    (here / "picture.png").write_bytes(encoded(Image.fromarray(images[0])))
    large = Image.fromarray(255 - images[0]).resize((5600, 5600)).convert("RGB")
    (here / "large.jpg").write_bytes(encoded(large, "JPEG") + bytes(6_000_000))
    (here / "picture.gif").write_bytes(encoded(large.resize((280, 280)), "GIF"))
    (here / "empty.png").write_bytes(encoded(Image.new("RGBA", (90, 90))))
    server = start(folder)
    assert server.process
    link = f"http://127.0.0.1:{server.port}/"
    look: list[str | Path] = ["node", node.HOME / "page.mjs", link, str(server.process.pid), here / "picture.png", here]
    done = checkout.run(look, cwd=here, variables={"CHROMIUM": chromium})
    end(server)
    assert done.returncode == 0, done.stderr
    assert min((here / f"{name}.png").stat().st_size for name in ("desk", "phone")) > 20_000
    right = artifact.spec["labels"][probabilities(artifact, images[:1])[0].argmax()]
    return {**json.loads(done.stdout), "right": right, "host": urlsplit(link).netloc}


@pytest.fixture(params=["desk", "phone"])
def view(request: pytest.FixtureRequest, seen: Seen) -> Seen:
    return {**seen[request.param], **{name: seen[name] for name in ("right", "host")}}


@pytest.mark.parametrize("way", ["chosen", "photo", "dropped", "pasted", "last"])
def test_a_picture_is_answered_however_it_is_given(view: Seen, way: str) -> None:
    assert view["said"][way].startswith(f"{view['right']}, ")
    assert view["said"][way].endswith(" % sure")


def test_a_large_photo_is_made_smaller_before_it_is_sent(view: Seen) -> None:
    assert view["said"]["large"].endswith(" % sure")
    kind, size = view["largeSent"]
    assert kind == "image/jpeg"
    assert size < 1_500_000


def test_what_the_browser_shows_and_the_server_does_not_read_is_sent_as_a_jpeg(view: Seen) -> None:
    assert view["said"]["gif"].endswith(" % sure")
    assert view["gifSent"][0] == "image/jpeg"


def test_of_a_picture_without_anything_no_category_is_said(view: Seen) -> None:
    assert view["said"]["empty"] == "Nothing to see"


def test_a_sample_is_answered_by_the_keyboard_alone(view: Seen) -> None:
    assert view["said"]["sample"].startswith(view["sampleLabel"])


def test_what_is_no_picture_or_a_broken_one_is_explained(view: Seen) -> None:
    assert view["said"]["text"] == "notes.txt is no picture. Take a PNG, JPEG or WebP."
    assert view["said"]["broken"] == "It can't be read: a damaged picture; send another."


def test_a_name_like_a_script_is_text(view: Seen) -> None:
    assert view["said"]["nasty"].startswith("<img src=x onerror=")
    assert view["title"] == "Which of these is it?"


def test_all_ten_have_a_bar_and_what_the_network_saw_is_shown(view: Seen) -> None:
    assert (view["bars"], view["seen"]) == (10, [28, 28])
    assert view["widest"] > 50, "the bar of the first is drawn"


def test_everything_that_can_be_used_has_a_name_and_nothing_is_cut_off(view: Seen) -> None:
    assert view["unnamed"] == []
    assert view["overflow"] <= 0


def test_console_is_clean_and_no_other_host_is_asked(view: Seen) -> None:
    told = "Failed to load resource: the server responded with a status of 422 (Unprocessable Entity)"
    assert view["console"] == [f"error: {told}"], "the browser's own line on the broken picture"
    assert [line.split()[0] for line in view["failed"]] == ["422"]
    assert {urlsplit(url).netloc for url in view["requests"]} == {view["host"], ""}, "blob: and data: have no host"


def test_when_the_server_is_gone_the_page_says_so(seen: Seen) -> None:
    assert set(seen["gone"].values()) == {"The server does not answer. Is it still running? Try again."}
