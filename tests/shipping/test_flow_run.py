"""`make flow`: data, workspace and training run say rightly what they are, why, and what brings them up."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from samebench.runs import train_command
from samebench.runs.flow_steps import MISSING
from samebench.training import reproduce
from samebench.training.__main__ import parse_args
from samebench.training.initial_models import InitialModel
from tests.commands import call
from tests.samebench.checkout import run
from tiny.settings import Settings

from .benches import STEPS, Bench, bench, follows, made, states, store

__all__ = ["bench", "made"]  # fixtures


# ---- data ----


def test_a_missing_file_of_the_data_is_named_and_the_run_is_what_it_was(bench: Bench) -> None:
    (bench.root / "data/blots/report.csv").unlink()
    steps = bench.flow()
    assert states(steps) == {"data": MISSING}
    assert steps["data"]["why"] == "blots: without report.csv"
    assert steps["data"]["command"] == "make data"


def test_a_changed_file_of_the_data_is_named_and_all_follows(bench: Bench) -> None:
    path = bench.root / "data/blots/report.csv"
    kept = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    steps = bench.flow()
    assert states(steps) == follows("data", *STEPS[2:])
    assert steps["data"]["why"] == "blots: changed: report.csv"
    assert steps["data"]["command"] == "make data"
    assert steps["training run"]["why"] == "follows from the data"


def test_another_version_of_the_data_makes_the_run_stale(bench: Bench) -> None:
    store(bench.root, seed=1)
    steps = bench.flow()
    assert states(steps) == follows(*STEPS[2:])
    assert steps["training run"]["why"] == "changed: the data"


def test_after_a_retraining_the_others_take_the_new_run(bench: Bench) -> None:
    named = ["--run", f"runs/{bench.run.name}"]
    bench.record(metrics={"validation": {"accuracy": 0.5}})
    (bench.run / "evaluation.json").unlink()
    shutil.rmtree(bench.run / "artifact")
    least = 'ARGS="--min-validation-accuracy 0.5"'
    assert bench.flow(*named)["artifact"]["command"] == f"make export RUN={named[1]} {least}"
    bench.edit("src/samebench/training/loop.py")
    steps = bench.flow(*named)
    assert steps["evaluation"]["command"] == "make evaluate DATASET=blots"
    assert steps["artifact"]["command"] == f"make export DATASET=blots {least}"
    for data in ("synthetic", "boots"):
        bench.record(settings={"data": data})
        assert bench.flow(*named)["evaluation"]["command"] == f"make evaluate DATA{'SET' * (data == 'boots')}={data}"


def test_of_a_run_that_is_not_done_nothing_is_known_that_its_weights_could_give(bench: Bench) -> None:
    path = bench.run / "receipt.json"
    known = json.loads(path.read_bytes()) | {"state": "interrupted"}
    del known["weights_sha256"], known["metrics"]
    path.write_text(json.dumps(known))
    steps = bench.flow("--run", f"runs/{bench.run.name}")
    for name in ("evaluation", "artifact"):
        assert (steps[name]["state"], steps[name]["why"]) == (MISSING, "once the run is done")
    assert "--min-validation-accuracy" not in steps["artifact"]["command"]


def test_data_elsewhere_and_packed_is_the_same_data(bench: Bench, tmp_path: Path) -> None:
    (bench.root / "data/blots").rename(tmp_path / "else where")
    run(["gzip", "-r", tmp_path / "else where"], cwd=tmp_path)
    assert states(bench.flow()) == {"data": MISSING}
    (tmp_path / "else where.sha256").write_text("")  # another checkout's
    assert states(bench.flow("--data", str(tmp_path / "else where"))) == {}


def test_a_run_on_data_that_is_made_needs_none(bench: Bench) -> None:
    (bench.root / "data/blots.sha256").unlink()
    bench.record(settings={"data": "synthetic", "epochs": 6})
    steps = bench.flow("--data", "synthetic")
    assert states(steps) == {}
    assert steps["data"]["why"] == "synthetic: made, and not stored"


# ---- workspace ----


def test_an_image_of_an_older_checkout_is_stale(bench: Bench) -> None:
    bench.edit("docker/cpu.Dockerfile")
    steps = bench.flow()
    assert states(steps) == follows("workspace", *STEPS[2:])
    assert steps["workspace"]["command"] == "make build"
    assert steps["training run"]["why"] == "follows from the workspace"


def test_no_image_yet_is_missing_and_makes_no_run_stale(bench: Bench) -> None:
    images = (bench.programs / "images").read_text().splitlines(keepends=True)
    (bench.programs / "images").write_text("".join(line for line in images if "tiny" in line))
    steps = bench.flow()
    assert states(steps) == {"workspace": MISSING}
    assert steps["workspace"]["why"] == "no cpu image yet, docker"


# ---- training run ----


def test_edited_sources_and_locks_are_named_and_all_follows(bench: Bench) -> None:
    bench.edit("src/samebench/training/loop.py")
    steps = bench.flow()
    assert states(steps) == follows(*STEPS[2:])
    assert steps["training run"]["why"] == "changed: src/samebench/training/loop.py"
    assert {steps[name]["why"] for name in ("evaluation", "artifact")} == {"follows from the training run"}
    assert steps["server image"]["why"] == "follows from the artifact"
    assert steps["bundle"]["why"] == "follows from the server image"
    for name in ("src/tiny/data.py", "requirements.lock"):
        bench.edit(name)
    assert bench.flow()["training run"]["why"] == "changed: src/samebench/training/loop.py and 2 more"


def test_a_lock_that_the_server_has_no_part_in_makes_the_run_stale(bench: Bench) -> None:
    bench.edit("docker/cpu.lock")
    assert bench.flow()["training run"]["why"] == "changed: docker/cpu.lock"


def test_what_a_run_was_asked_for_is_its_own_and_is_asked_for_again(bench: Bench) -> None:
    bench.edit("src/samebench/training/loop.py")
    command = bench.flow()["training run"]["command"]
    assert command == 'make train ARGS="--epochs 1 --seed 3 --batch-size 100 --shards 2 --network linear"'


@pytest.mark.parametrize(
    ("settings", "device", "command"),
    [
        ({}, "cpu", "make train"),
        ({"data": "synthetic", "epochs": 1}, "cpu", 'make train DATA=synthetic ARGS="--epochs 1"'),
        ({"fast": True, "device": "cuda"}, "cuda", "make train GPU=1 FAST=1"),
        ({"a setting of other code": 1}, "cpu", "make train"),
    ],
)
def test_the_command_asks_for_what_the_run_was_asked_for(settings: dict[str, Any], device: str, command: str) -> None:
    told = {"settings": asdict(Settings()) | settings, "device": device}
    assert train_command.make_retrain_command(told) == command


def test_only_a_run_that_is_done_counts_and_another_can_be_asked_for(bench: Bench) -> None:
    later = bench.run.with_name("99991231-235959-zzzz")
    done = f"runs/{bench.run.name}"
    shutil.copytree(bench.run, later)
    bench.record(state="interrupted")
    assert states(bench.flow()) == {}
    steps = bench.flow("--run", "runs/99991231-235959-zzzz")
    assert steps["training run"]["why"] == "runs/99991231-235959-zzzz is interrupted"
    assert steps["training run"]["command"] == "make train RESUME=runs/99991231-235959-zzzz"
    (bench.root / done / "evaluation.json").unlink()
    assert bench.flow("--run", done)["evaluation"]["command"] == f"make evaluate RUN={done}"
    assert bench.flow()["evaluation"]["command"] == "make evaluate"
    (later / "receipt.json").write_text('{"state": "done", "settings": "none"}')
    assert states(bench.flow()) == {"evaluation": MISSING}, "a damaged one is passed over"
    said = bench.said("--run", "runs/99991231-235959-zzzz")
    damage = 'runs/99991231-235959-zzzz/receipt.json: settings is "none", not an object; take another'
    assert (said.returncode, said.stdout, said.stderr) == (2, "", f"error: {damage}\n")
    said = bench.said("--run", "runs/none")
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "error: runs/none: no run with a receipt there; take one of runs/, or train first\n"


def test_a_run_is_named_by_its_id_alone_everywhere(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    done = f"runs/{bench.run.name}"
    assert bench.flow("--run", bench.run.name) == bench.flow("--run", done)
    monkeypatch.chdir(bench.root)
    settings, _, resumed = parse_args(["--resume", bench.run.name])
    assert resumed
    assert (str(resumed.directory), settings.seed) == (done, 3)
    assert reproduce.find_receipt(bench.run.name)["run"] == bench.run.name
    assert InitialModel.load(bench.run.name).run == bench.run.name
    for words in (["samebench.training.evaluate"], ["samebench.serving.export", "--if-needed"]):
        said = call("-m", *words, "--run", bench.run.name, at=bench.root, changes={"PYTHONPATH": "src"})
        assert said.returncode == 0, said.stderr


def test_a_run_whose_weights_are_gone_is_stale(bench: Bench) -> None:
    (bench.run / "model.safetensors").unlink()
    assert bench.flow()["training run"]["why"] == "model.safetensors is gone"
