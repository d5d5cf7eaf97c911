"""What the README promises, for a new project of each kind, by the words that a user types."""

import json
import os
import re
import signal
import time
from typing import Any

import pytest

from samebench.tasks.new_project import KINDS

from .conftest import SAMPLES, Bench


def test_a_new_project_is_small_and_refuses_a_second_one(bench: Bench) -> None:
    made = [
        *(bench.root / "src" / bench.name).iterdir(),
        *(bench.root / "tests" / bench.name).iterdir(),
        *(bench.root / "notebooks").glob(f"*-{bench.name.replace('_', '-')}.ipynb"),
    ]
    files = [path for path in made if path.is_file()]
    assert len(files) == 7
    assert sum(len(path.read_text().splitlines()) for path in files) <= 150
    before = {path: path.read_bytes() for path in files}
    for kind in KINDS:
        output = bench.make("new-project", f"NAME={bench.name}", f"KIND={kind}", code=2)
        assert f"error: NAME={bench.name}: src/{bench.name} is there" in output
    assert {path: path.read_bytes() for path in files} == before


def test_two_processes_give_the_weights_of_one(bench: Bench, first: dict[str, Any]) -> None:
    second = bench.train("PROCS=2")
    assert second["processes"]["count"] == 2
    assert second["weights_sha256"] == first["weights_sha256"]


def test_a_killed_training_resumes_to_the_same_weights(bench: Bench, first: dict[str, Any]) -> None:
    before = {*(bench.root / "runs").iterdir()}
    training = bench.start("-m", "samebench.training", "--epochs", "2", "--checkpoint-seconds", "0")
    deadline = time.monotonic() + 100
    steps: list[Any] = []
    while not steps and training.poll() is None and time.monotonic() < deadline:
        steps = [
            each for each in bench.root.glob("runs/*/checkpoints/step-*[1-9].json") if each.parents[1] not in before
        ]
        time.sleep(0.001)
    os.kill(training.pid, signal.SIGKILL)
    training.communicate()
    (run,) = {*(bench.root / "runs").glob("2*")} - before
    assert bench.receipt(f"runs/{run.name}")["state"] == "running"
    bench.make("train", "RESUME=latest")
    resumed = bench.receipt(f"runs/{run.name}")
    assert resumed["weights_sha256"] == first["weights_sha256"]
    assert resumed["resumed"][0]["step"] > 0


def test_a_reproduction_is_identical_and_is_compared_evaluated_and_listed(bench: Bench, first: dict[str, Any]) -> None:
    assert f"identical: weights {first['weights_sha256']}" in bench.make("reproduce", f"RUN=runs/{first['run']}")
    metric = "rmse" if bench.kind == "table" else "accuracy"
    assert f"{metric} " in bench.make("evaluate", f"RUN=runs/{first['run']}")
    sweep = bench.make("sweep", "GRID=seed=0,1", "ARGS=--epochs 2")
    assert "1 done, 0 to resume, 1 to train" in sweep
    (seeded,) = [each for each in json.loads(bench.make("runs", "JSON=1")) if each["settings"]["seed"] == 1]
    compared = bench.make("compare", f"RUNS=runs/{first['run']} {seeded['directory']}")
    assert ("permutation test of rmse" if bench.kind == "table" else "McNemar's exact test") in compared
    runs = json.loads(bench.make("runs", "JSON=1", f"SORT={'-' * (metric == 'rmse')}validation_{metric}"))
    figures = [each[f"validation_{metric}"] for each in runs]
    assert figures == sorted(figures, reverse=metric != "rmse")
    assert {each["project"] for each in runs} == {bench.name}
    assert next(each for each in runs if not each["reproduces"])["best"], "the first metric on the validation data"


def test_an_artifact_keeps_its_budget_and_is_served(bench: Bench, first: dict[str, Any]) -> None:
    impossible = "--max-validation-rmse 0.0001" if bench.kind == "table" else "--min-validation-accuracy 1.01"
    run, anyhow = f"RUN=runs/{first['run']}", "--max-latency-ms-p99 10000"
    refused = bench.make("export", run, f"ARGS={impossible} {anyhow}", code=1)
    assert re.search(r"is (over|under) the budget (max_validation_rmse|min_validation_accuracy)=", refused)
    assert not (bench.root / "runs" / first["run"] / "artifact").exists()
    assert "artifact: exported" in bench.make("export", run, f"ARGS={anyhow}")
    body, media_type = SAMPLES[bench.kind]
    with bench.server(first["run"]) as server:
        reply = server.predict(body, {"content-type": media_type})
        page = server.ask("GET", "/").body
    answer = reply.json()
    assert reply.status == 200
    assert isinstance(answer["warnings"], list)
    assert answer["value"] == pytest.approx(2, abs=1) if bench.kind == "table" else len(answer["probabilities"]) > 1
    assert b"<form" in page
