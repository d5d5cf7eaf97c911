"""Training as a user interrupts and resumes it, by the command that was printed; and how it saves."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from apparel import train
from apparel.run import Run
from tests.commands import call, start

COMMAND = ["-m", "apparel.train", "--data", "synthetic", "--network", "linear"]


def test_the_command_that_was_printed_resumes(tmp_path: Path) -> None:
    process = start(*COMMAND, "--epochs", "1000", at=tmp_path)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    (run,) = tmp_path.glob("runs/*")
    assert err.endswith(f"; resume with: make train RESUME=runs/{run.name}\n")
    done_epochs = len(json.loads((run / "receipt.json").read_text())["history"])
    for words in (["--resume", f"runs/{run.name}"], ["--resume", "latest"]):
        done_epochs += 1
        resumed = call("-m", "apparel.train", *words, "--epochs", str(done_epochs), at=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert f"runs/{run.name}: resumes after step" in resumed.stdout
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["state"] == "done"
    assert receipt["settings"]["network"] == "linear"
    assert len(receipt["resumed"]) == 2


def test_a_run_whose_lines_nobody_reads_any_more_can_be_resumed(tmp_path: Path) -> None:
    words = ("--data", "synthetic", "--network", "linear", "--epochs", "3")
    with start("-m", "apparel.train", *words, at=tmp_path) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=100) == 1
    (directory,) = (tmp_path / "runs").iterdir()
    assert Run.open(directory).receipt["state"] == "interrupted"
    done = call("-m", "apparel.train", "--resume", "latest", at=tmp_path)
    assert done.returncode == 0
    assert Run.open(directory).receipt["state"] == "done"


def test_nothing_to_resume_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("-m", "apparel.train", "--resume", "latest", at=tmp_path)
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
    environment = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[1])}
    done = subprocess.run([*trace, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
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
