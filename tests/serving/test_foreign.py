"""An artifact of a stranger is refused in a line, or what it says is shown as text and nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from samebench.core.command import UsageError
from samebench.serving.artifact import Artifact
from tests.commands import call
from tests.samebench.server import free_port

from . import foreign
from .conftest import encoded, end, probabilities, start

NOT_OURS = "its content is not ours"


@pytest.mark.parametrize(
    ("labels", "facts", "said"),
    [
        (["a", "b\x1b[2J"], {}, "is no line of text"),
        (["a", "b\nc"], {}, "is no line of text"),
        (["a", "\u202eb"], {}, "is no line of text"),
        (["a", 5], {}, "is no line of text"),
        (["a", ""], {}, "is no line of text"),
        (["a", "b" * 300], {}, "is no line of text"),
        (["a", "a"], {}, "its labels are not from 1 to 10,000 different ones"),
        ([], {}, "its labels are not from 1 to 10,000 different ones"),
        (list(map(str, range(10_001))), {}, "its labels are not from 1 to 10,000 different ones"),
        ("abc", {}, "its labels are not from 1 to 10,000 different ones"),
        (["a", "b"], {"categories": 3}, NOT_OURS),
        (["a", "b"], {"confidence_floor": float("nan")}, NOT_OURS),
        (["a", "b"], {"confidence_floor": 2}, NOT_OURS),
        (["a", "b"], {"confidence_floor": "low"}, NOT_OURS),
        (["a", "b"], {"confidence_floor": [0]}, NOT_OURS),
        (["a", "b"], {"run": {"a": "b"}}, NOT_OURS),
        (["a", "b"], {"locks": None}, NOT_OURS),
        (["a", "b"], {"locks": ["a"]}, NOT_OURS),
        (["a", "b"], {"preparation": ["plain"]}, NOT_OURS),
        (["a", "b"], {"side": 64}, NOT_OURS),
        (["a", "b"], {"side": "wide"}, NOT_OURS),
        (["a", "b"], {"chosen": b"[]"}, "not a JSON object"),
        (["a", "b"], {"chosen": b"{"}, "not JSON"),
        (["a", "b"], {"chosen": b'{"samples": 5}'}, NOT_OURS),
        (["a", "b"], {"chosen": b'{"samples": [{"label": "c", "pixels": ""}]}'}, NOT_OURS),
        (["a", "b"], {"chosen": b'{"samples": [{"label": "a", "pixels": "AAAA"}]}'}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({"probabilities": foreign.recorded(1)})}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({"others": foreign.recorded(0, 1)})}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({}, shape=[3, 256, 255])}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({}, shape=[-3, -256, 256])}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({}, dtype="int8")}, NOT_OURS),
        (["a", "b"], {"chosen": foreign.recorded_samples({}, dtype="object")}, NOT_OURS),
        (["a", "b"], {"project": "prices"}, "of the project 'prices', not of tiny"),
        (["a", "b"], {"project": 5}, NOT_OURS),
        (["a", "b"], {"spec": []}, NOT_OURS),
        (["a", "b"], {"samples_sha256": "0" * 64}, "not the samples of the model beside it"),
    ],
)
def test_an_impossible_artifact_is_refused_in_a_line(tmp_path: Path, labels: Any, facts: Any, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as refused:
        Artifact.load(foreign.write(tmp_path / "artifact", labels, **facts))
    assert str(refused.value).isprintable()


def test_an_answer_other_than_the_recorded_one_is_found(tmp_path: Path) -> None:
    plain = Artifact.load(foreign.write(tmp_path / "plain", ["a", "b"]))
    (row,) = probabilities(plain, np.full((1, 3, 256, 256), 9, np.uint8))
    for place, (difference, right) in enumerate([(0, True), (1e-5, True), (1e-2, False)]):
        answer = {"probabilities": foreign.recorded(row[0] + difference, row[1])}
        folder = foreign.write(tmp_path / str(place), ["a", "b"], chosen=foreign.recorded_samples(answer))
        if right:
            assert Artifact.load(folder).check() == 1
        else:
            with pytest.raises(UsageError, match="its answer on the sample a is not the recorded one"):
                Artifact.load(folder).check()


@pytest.mark.parametrize("factor", [float("nan"), float("inf")], ids=["a temperature of NaN", "a temperature of 0"])
def test_a_model_whose_probabilities_are_no_numbers_is_not_served(tmp_path: Path, factor: float) -> None:
    chosen = foreign.samples(["a"], np.full((1, 3, 256, 256), 9, np.uint8))
    folder = foreign.write(tmp_path / "artifact", ["a", "b"], chosen=chosen, factor=factor)
    changes = {"ARTIFACT": str(folder), "PORT": str(free_port()), "HOST": None}
    for words in ((), ("verify",)):
        done = call("-m", "samebench.serving", *words, at=tmp_path, changes=changes)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert "ok" not in done.stdout.split()


def test_labels_are_shown_as_text_and_requests_choose_neither_metrics_nor_the_log(tmp_path: Path) -> None:
    nasty = ["</script><script>alert(1)</script>", 'a"} 1\\', "\u0645\u06cc\u200c\u0634\u0648\u062f"]
    server = start(foreign.write(tmp_path / "artifact", nasty, run="<b>\x1b[2J"))
    page = server.ask("GET", "/").body.decode()
    assert "alert(1)</script>" not in page
    assert "\x1b" not in page
    assert sorted(server.predict(encoded(Image.new("RGB", (9, 9)))).json()["probabilities"]) == sorted(nasty)
    before = server.ask("GET", "/metrics").body.decode().splitlines()
    for number in range(50):
        server.ask(["GET", "PUT", "PROPFIND", "DELETE"][number % 4], f"/%1b%5b2J%0a{number}")
    after = server.ask("GET", "/metrics").body.decode().splitlines()
    assert len(after) - len(before) < 40, "one more path, two more statuses"
    assert not [line for line in after if "2J" in line]
    log = end(server)
    assert log.isascii()
    lines = log.splitlines()
    assert [json.loads(line)["path"] for line in lines[3:5]] == ["/\x1b[2J\n0", "/\x1b[2J\n1"]
    assert all(line.isprintable() for line in lines)
    assert sum("2J" in line for line in lines) == 50


def test_a_thousand_categories_of_large_pictures_fit_the_budget_and_are_healthy_in_time(tmp_path: Path) -> None:
    labels = [f"category {number}" for number in range(1000)]
    images = np.zeros((60, 3, 256, 256), np.uint8)
    images[:] = np.random.default_rng(1).integers(0, 256, (60, 3, 1, 1))
    plain = Artifact.load(foreign.write(tmp_path / "plain", labels))
    names = [labels[place] for place in probabilities(plain, images).argmax(1)]
    folder = foreign.write(tmp_path / "artifact", labels, chosen=foreign.samples(names, images))
    assert (folder / "model.onnx").stat().st_size < 5e6
    server = start(folder)
    health = {"ARTIFACT": str(folder), "PORT": str(server.port), "HOST": None}
    assert call("-m", "samebench.serving", "--health", at=tmp_path, changes=health).returncode == 0
    assert len(server.ask("GET", "/").body) < 6e6
    end(server)
