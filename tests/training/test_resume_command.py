"""Training as a user interrupts and resumes it, by the command that was printed; and how it saves."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from samebench.core.command import UsageError
from samebench.data.source import Source
from samebench.runs.run import Run
from samebench.shipping import flow
from samebench.training import reproduce, train
from samebench.training.checkpoint import Checkpoint
from tests.commands import call, environment, start
from tests.samebench.checkout import INHERITED, copy_checkout
from tests.samebench.stored import store
from tiny.data import synthetic
from tiny.settings import Settings

SMALL = Settings(data="synthetic", network="linear", epochs=1)
COMMAND = ["-m", "samebench.training", "--data", "synthetic", "--network", "linear"]


def test_the_command_that_was_printed_resumes(tmp_path: Path) -> None:
    process = start(*COMMAND, "--epochs", "1000", at=tmp_path)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    (run,) = tmp_path.glob("runs/2*")
    assert f"; resume with: make train RESUME=runs/{run.name}" in err
    done_epochs = len(json.loads((run / "receipt.json").read_text())["history"])
    for words in (["--resume", f"runs/{run.name}"], ["--resume", "latest"]):
        done_epochs += 1
        resumed = call("-m", "samebench.training", *words, "--epochs", str(done_epochs), at=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert f"runs/{run.name}: resumes after step" in resumed.stdout
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["state"] == "done"
    assert receipt["settings"]["network"] == "linear"
    assert len(receipt["resumed"]) == 2


@pytest.mark.parametrize("launched", ["JOB='this evening'", "PROCS=2"])
def test_the_line_that_was_printed_goes_on_with_the_run_when_it_is_copied(launched: str, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "work")
    store(tmp_path / "my data", synthetic(0), listing=checkout / "data/blots.sha256")
    data = tmp_path / "my data"
    words = f"make train DATA={shlex.quote(str(data))} {launched} ARGS='--network linear --epochs 60'"
    changes = {"SAMEBENCH": "1", "PYTHONPATH": "src", "SAMEBENCH_RUNTIME": "local"}
    variables = {name: value for name, value in os.environ.items() if name not in INHERITED} | changes
    process = subprocess.Popen(
        ["sh", "-c", f"exec {words}"],
        cwd=checkout,
        env=variables,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not list(checkout.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, said = process.communicate(timeout=100)
    (line,) = [line for line in said.splitlines() if "; resume with: " in line]
    command = line.partition("; resume with: ")[2]
    (run,) = checkout.glob("runs/2*")
    assert shlex.split(command) == [
        *("make", "train", f"RESUME=runs/{run.name}", f"DATA={data}", "RUNTIME=local"),
        *shlex.split(launched),
    ]
    done = subprocess.run(["sh", "-c", command], cwd=checkout, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    receipt = json.loads((run / "receipt.json").read_text())
    assert (receipt["state"], len(receipt["resumed"]), list(checkout.glob("runs/2*"))) == ("done", 1, [run])


def test_what_a_resume_needs_is_in_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMEBENCH_LAUNCH", raising=False)
    monkeypatch.setenv("GPU", "0,2")
    told = {
        "device": "cuda",
        "settings": {"data": "/my data", "init": "/a/model.safetensors"},
        "environment": {"runtime": "podman"},
        "processes": {"count": 2, "machines": 1},
    }
    run = Run(Path("runs/a b"), told)
    words = "GPU=0,2 RESUME='runs/a b' DATA='/my data' INIT=/a/model.safetensors RUNTIME=podman PROCS=2"
    assert run.resume_command() == f"make train {words}"
    monkeypatch.delenv("GPU")
    run = Run(tmp_path, told)
    run.checkpoints.mkdir()
    (run.checkpoints / "step-00000001.safetensors").touch()  # it has the weights, and the model may be gone
    assert run.resume_command() == f"make train GPU=1 RESUME={tmp_path} DATA='/my data' RUNTIME=podman PROCS=2"


def test_what_a_new_run_without_the_jump_needs_is_in_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMEBENCH_LAUNCH", raising=False)
    monkeypatch.setenv("GPU", "0,2")
    settings = Settings(data="/my data", epochs=6, network="linear", fast=True, device="cuda")
    told = {"device": "cuda", "environment": {"runtime": "podman"}, "processes": {"count": 2, "machines": 1}}
    run = Run(Path("runs/a b"), {**told, "settings": asdict(settings)})
    then = Checkpoint(
        tensors={}, step=8, settings={"epochs": 2}, data_version="", device="cuda", history=[], seconds=1.0
    )
    command = train.schedule_change(run, then, settings, steps=4).strip().partition("has none: ")[2]
    expected = "GPU=0,2 INIT='runs/a b/model.safetensors' FAST=1 DATA='/my data' RUNTIME=podman PROCS=2"
    assert command == f'make train {expected} ARGS="--epochs 4 --lr 0.025 --network linear"'


@pytest.mark.parametrize("where", ["flow", "reproduce", "train"])
def test_every_line_that_resumes_has_what_it_needs(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAMEBENCH_LAUNCH", raising=False)
    data = {"data": "/my data", "network": "linear", "epochs": 1}
    run = train.train(SMALL, runs=tmp_path / "runs")
    other = train.train(SMALL, runs=tmp_path / "runs")
    for each, state in ((run, "done"), (other, "interrupted")):
        settings = {**each.receipt["settings"], **(data if each is other else {})}
        told = {
            "state": state,
            "settings": settings,
            "environment": {**each.receipt["environment"], "runtime": "podman"},
        }
        each.record(**told)
    command = f"make train RESUME={other.directory} DATA='/my data' RUNTIME=podman"
    if where == "flow":
        assert (
            flow.training_step(flow.FlowRun(other.directory, other.receipt), Source.of("synthetic")).command == command
        )
    else:
        with pytest.raises(UsageError, match=f": {re.escape(command)}$"):
            reproduce.find_receipt(str(other.directory)) if where == "reproduce" else train.train(SMALL, run=run)


def test_one_process_of_a_job_that_is_started_again_goes_on_with_its_run(tmp_path: Path) -> None:
    job = {"JOB": "evening", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    process = start(*COMMAND, "--epochs", "40", at=tmp_path, changes=job)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.terminate()
    process.communicate(timeout=100)
    assert process.returncode == 4
    (run,) = tmp_path.glob("runs/2*")
    done = call(*COMMAND, "--epochs", "40", at=tmp_path, changes=job)
    assert done.returncode == 0, done.stderr
    assert f"JOB=evening: its run is runs/{run.name}; for a new run give another name, or unset JOB\n" in done.stdout
    assert [*tmp_path.glob("runs/2*")] == [run]
    assert json.loads((run / "receipt.json").read_text())["job"] == "evening"


def test_a_run_whose_lines_nobody_reads_any_more_can_be_resumed(tmp_path: Path) -> None:
    words = ("--data", "synthetic", "--network", "linear", "--epochs", "3")
    with start("-m", "samebench.training", *words, at=tmp_path) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=100) == 1
    (directory,) = tmp_path.glob("runs/[!.]*")
    assert Run.open(directory).receipt["state"] == "interrupted"
    done = call("-m", "samebench.training", "--resume", "latest", at=tmp_path)
    assert done.returncode == 0
    assert Run.open(directory).receipt["state"] == "done"


def test_nothing_to_resume_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("-m", "samebench.training", "--resume", "latest", at=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: runs: no run; train first, or name a run\n"


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    process = start(*COMMAND, "--epochs", "1000", at=tmp_path)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # so that both are there before it can end by the first
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in {4, -signal.SIGINT}


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
def test_every_save_writes_syncs_renames_and_syncs_the_directory_in_this_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    calls = "openat,write,fsync,rename,renameat,renameat2"
    trace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={calls}", "-o", str(log)]
    words = [sys.executable, *COMMAND, "--epochs", "3", "--checkpoint-seconds", "0"]
    done = subprocess.run(
        [*trace, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=200
    )
    if "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    assert done.returncode == 0, done.stderr
    saves = [each for each in order(log.read_text()) if each]
    assert len(saves) >= 15
    assert set(saves) == {"open write fsync rename sync"}


def order(log: str) -> list[str]:
    """What happened to each temporary file and then to its directory, one word a kind of call."""
    saves: dict[str, list[str]] = {}
    ends: list[str] = []
    for line in log.splitlines():
        name = next(iter(re.findall(r"\.step-[\w.]+", line)), "")
        kind = line.split(maxsplit=1)[1].split("(")[0] if name or "fsync" in line else ""
        if name and "O_CREAT" in line:
            saves[name] = ["open"]
        elif name and kind in {"write", "fsync"} and saves[name][-1] != kind:
            saves[name].append(kind)
        elif name and kind.startswith("rename"):
            saves[name].append("rename")
            ends.append(name)
        elif kind == "fsync" and "/checkpoints>" in line and ends:
            saves[ends.pop()].append("sync")
    return [" ".join(words) for words in saves.values()]
