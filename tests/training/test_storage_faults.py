"""A training on storage that fails: each fault is injected into the system call itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import call, environment

WORDS = ["-m", "samebench.training", "--data", "synthetic", "--network", "linear", "--epochs", "2"]


def train_with_fault(home: Path, fault: str) -> subprocess.CompletedProcess[str]:
    """A training whose system calls fail as `fault` says, in the words of `strace --inject`."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    call_name = fault.partition(":")[0]
    trace = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", f"trace={call_name}", "-e"]
    words = [*trace, f"inject={fault}", sys.executable, *WORDS]
    done = subprocess.run(words, cwd=home, env=environment(), capture_output=True, text=True, timeout=200)
    if "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    return done


@pytest.mark.parametrize(
    ("fault", "reason"),
    [  # after the run was made: some writes before it are left out in some checkouts
        ("fsync:error=EIO:when=17", "Input/output error"),
        ("rename:error=ESTALE:when=8", "Stale file handle"),
    ],
)
def test_storage_that_fails_ends_a_training_in_one_line_and_the_run_can_be_resumed(
    tmp_path: Path, fault: str, reason: str
) -> None:
    done = train_with_fault(tmp_path, fault)
    (run,) = tmp_path.glob("runs/[!.]*")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{reason}; see that the disk, or the file server, works" in done.stderr
    assert done.stderr.endswith(f"; resume with: make train RESUME=runs/{run.name}\n")
    assert json.loads((run / "receipt.json").read_text())["state"] == "interrupted"
    resumed = call("-m", "samebench.training", "--resume", f"runs/{run.name}", at=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads((run / "receipt.json").read_text())["state"] == "done"


def test_a_file_system_without_fsync_of_folders_is_trained_on_and_that_is_said_once(tmp_path: Path) -> None:
    done = train_with_fault(tmp_path, "fsync:error=EINVAL:when=2+2")  # each second one is of a folder
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("can't sync folders (Invalid argument); a power cut may lose the last files") == 1
    (receipt,) = tmp_path.glob("runs/*/receipt.json")
    assert json.loads(receipt.read_text())["state"] == "done"
