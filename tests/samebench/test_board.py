"""TensorBoard inside JupyterLab: real event files, a real server, and nothing for who has no token."""

import http.client
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from . import server
from .checkout import copy_checkout
from .server import Server
from .servers import short_folder

__all__ = ["short_folder"]  # a fixture

PICTURE = b"\x89PNG\r\n\x1a\n and the rest of it"
PATIENCE = 60  # seconds for TensorBoard to see what is new: it looks every 5


def write(run: Path, *, step: int) -> None:
    """What a training writes at the end of an epoch."""
    run.mkdir(parents=True, exist_ok=True)
    picture = Summary.Image(width=1, height=1, colorspace=3, encoded_image_string=PICTURE)
    values = [Summary.Value(tag="loss", simple_value=1 / step), Summary.Value(tag="confusion", image=picture)]
    with closing(RecordWriter((run / "events.out.tfevents.1.1").open("ab", buffering=0))) as records:
        if step == 1:
            records.write(Event(wall_time=time.time(), file_version="brain.Event:2").SerializeToString())
        records.write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)).SerializeToString())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = copy_checkout(tmp_path_factory.mktemp("board") / "my work")
    write(place / "runs/first", step=1)
    return place


@pytest.fixture(scope="module")
def lab(checkout: Path) -> Iterator[Server]:
    words = [sys.executable, "-m", "samebench.workspace.notebook"]
    with server.started(*words, at=checkout, PYTHONPATH=f"{checkout}/src") as lab:
        yield lab


def until(lab: Server, path: str, wanted: str) -> Any:
    """What TensorBoard answers once `wanted` is in it."""
    deadline = time.monotonic() + PATIENCE
    while wanted not in json.dumps(told := lab.exchange("GET", f"/tensorboard/data/{path}")):
        assert time.monotonic() < deadline, told
        time.sleep(0.2)
    return told


def test_curves_and_pictures_of_a_run_are_there_with_the_token(lab: Server) -> None:
    assert until(lab, "runs", "first") == ["first"]
    points = until(lab, "plugin/scalars/scalars?run=first&tag=loss", "1.0")
    assert [(step, value) for _, step, value in points] == [(1, 1.0)]
    (image,) = until(lab, "plugin/images/images?run=first&tag=confusion", "blob_key")
    with urllib.request.urlopen(
        urllib.request.Request(
            f"http://127.0.0.1:{lab.port}/tensorboard/data/plugin/images/individualImage?{image['query']}",
            headers={"Authorization": f"token {lab.token}"},
        )
    ) as reply:
        assert reply.read() == PICTURE


@pytest.mark.parametrize("path", ["/tensorboard", "/tensorboard/"])
def test_its_page_comes_with_a_slash_at_the_end_or_without(lab: Server, path: str) -> None:
    headers = {"Authorization": f"token {lab.token}"}
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{lab.port}{path}", headers=headers)) as reply:
        assert reply.url.endswith("/tensorboard/")
        assert b"<title>TensorBoard" in reply.read()


def test_what_a_run_writes_is_seen_while_it_goes_on(lab: Server, checkout: Path) -> None:
    write(checkout / "runs/second", step=1)
    until(lab, "runs", "second")
    write(checkout / "runs/second", step=2)
    points = until(lab, "plugin/scalars/scalars?run=second&tag=loss", "0.5")
    assert [step for _, step, _ in points] == [1, 2]


@pytest.mark.parametrize("path", ["", "index.html", "data/runs", "data/plugin/images/tags", "data/environment"])
def test_without_the_token_there_is_nothing(lab: Server, path: str) -> None:
    for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username=x"}, {"X-XSRF-Protected": "1"}):
        for method in ("GET", "POST", "HEAD", "PUT"):
            assert not 200 <= lab.ask(method, f"/tensorboard/{path}", **headers) < 300


def request(lab: Server, method: str, path: str, **headers: str) -> tuple[int, http.client.HTTPMessage]:
    with closing(http.client.HTTPConnection("127.0.0.1", lab.port, timeout=30)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        reply = connection.getresponse()
        reply.read()
        return reply.status, reply.headers


def test_only_the_page_itself_may_send_something(lab: Server) -> None:
    _, headers = request(lab, "GET", f"/lab?token={lab.token}")
    cookies = "; ".join(each.split(";")[0] for each in headers.get_all("Set-Cookie", []))
    known = {"Cookie": cookies, "Content_Type": "application/x-www-form-urlencoded"}
    path = "/tensorboard/experiment/defaultExperimentId/data/plugin/timeseries/timeSeries"
    assert request(lab, "POST", path, **known)[0] == 403
    assert request(lab, "POST", path, **known, X_XSRF_Protected="1")[0] == 400, "TensorBoard's own: no question asked"


def test_no_other_site_may_show_it_inside(lab: Server) -> None:
    for path in ("", "data/runs", "nothing"):
        _, headers = request(lab, "GET", f"/tensorboard/{path}", Authorization=f"token {lab.token}")
        assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]


def test_nothing_is_said_and_nothing_is_left_when_it_ends(checkout: Path, short_folder: Path) -> None:
    words = [sys.executable, "-m", "samebench.workspace.notebook"]
    with server.started(*words, at=checkout, PYTHONPATH=f"{checkout}/src", TMPDIR=str(short_folder)) as lab:
        until(lab, "runs", "first")
        lab.process.terminate()
        assert lab.process.wait(10) == 0
    assert list(short_folder.iterdir()) == []
    assert lab.said == ""
