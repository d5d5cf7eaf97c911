"""Trainings killed at any instant and taken up again end with the weights of one that was left alone."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests import soak
from tests.commands import environment
from tests.samebench.checkout import ROOT
from tests.training.killed_trainings import POINTS, Order

KILLED = -signal.SIGKILL
Train = Callable[..., int]


@pytest.fixture(scope="module")
def forked() -> Iterator[Train]:
    """Trains in a forked process of its own; the exit code, -9 for one that was killed."""
    words = [sys.executable, "-m", "tests.training.killed_trainings"]
    with subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        orders, answers = server.stdin, server.stdout
        assert orders
        assert answers

        def work(home: Path, **order: Any) -> int:
            print(json.dumps(asdict(Order(home=str(home), **order))), file=orders, flush=True)
            return int(answers.readline())

        yield work
        orders.close()


@pytest.fixture(scope="module")
def undisturbed(forked: Train, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights hash of a training that nothing happened to."""
    home = tmp_path_factory.mktemp("undisturbed")
    assert forked(home) == 0
    return weights(home)


def weights(home: Path) -> str:
    (run,) = (json.loads(path.read_text()) for path in home.glob("*/receipt.json"))
    assert run["state"] == "done"
    return str(run["weights_sha256"])


def orphans(home: Path) -> list[str]:
    return [path.name for path in home.rglob(".*") if path.name not in {".lock", ".sequence"}]


def kill_at(point: str, forked: Train, undisturbed: str, home: Path, *, save: int) -> None:
    """Kill a training at this point of a save, and resume it."""
    assert forked(home, point=point, save=save) == KILLED
    assert forked(home, resume=True) == 0
    assert weights(home) == undisturbed
    assert orphans(home) == []
    assert len(list(home.glob("*/checkpoints/*.safetensors"))) == 2


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_of_a_save_it_resumes_to_the_same_weights(
    point: str, forked: Train, undisturbed: str, tmp_path: Path
) -> None:
    kill_at(point, forked, undisturbed, tmp_path, save=5)  # in the middle of an epoch, with an older one to clean up


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_killed_at_every_point_of_the_first_and_of_a_later_save(
    forked: Train, undisturbed: str, tmp_path: Path
) -> None:
    # The first save has nothing to clean up.
    kills = [(save, point) for save in (1, 5) for point in POINTS if save > 1 or "clean-up" not in point]
    for number, (save, point) in enumerate(kills):
        kill_at(point, forked, undisturbed, tmp_path / str(number), save=save)
    soak.record(
        "killed_at_every_point_of_the_first_and_of_a_later_save",
        f"{len(kills)} kills, all with the same weights, no orphans",
    )


def kill_at_random(forked: Train, undisturbed: str, home: Path, *, seed: int, seconds: float) -> int:
    """Kill a training at a random instant, its resumption at another, and finish it; how many kills hit."""
    instants = random.Random(seed)
    killed = 0
    for resume in (False, True):
        place = next(iter(home.glob("*/receipt.json")), None)
        if place is None or json.loads(place.read_text())["state"] != "done":
            killed += forked(home, resume=resume, after=instants.uniform(0, seconds)) == KILLED
    place = next(iter(home.glob("*/receipt.json")), None)
    if place is None or json.loads(place.read_text())["state"] != "done":
        assert forked(home, resume=True) == 0
    assert weights(home) == undisturbed
    assert orphans(home) == []
    return killed


def time_of_one(forked: Train, home: Path) -> float:
    began = time.monotonic()
    assert forked(home) == 0
    return time.monotonic() - began


def test_killed_at_random_instants_also_of_the_resumption(forked: Train, undisturbed: str, tmp_path: Path) -> None:
    seconds = time_of_one(forked, tmp_path / "timed")
    for seed in range(10):
        kill_at_random(forked, undisturbed, tmp_path / str(seed), seed=seed, seconds=seconds)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_random_kills(forked: Train, undisturbed: str, tmp_path: Path) -> None:
    seconds = time_of_one(forked, tmp_path / "timed")
    killed = seed = 0
    while killed < 200:
        killed += kill_at_random(forked, undisturbed, tmp_path / str(seed), seed=seed, seconds=seconds)
        seed += 1
    soak.record(
        "two_hundred_random_kills", f"{killed} kills in {seed} trainings, all with the same weights, no orphans"
    )
