import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from samebench.core import command
from samebench.core.command import Interrupted, RequirementError, UsageError
from tests.commands import SOURCE, call, start


@pytest.mark.parametrize(
    ("stop", "code"),
    [
        (UsageError("epochs=0"), 2),
        (RequirementError("no GPU"), 3),
        (Interrupted("runs/x"), 4),
        (KeyboardInterrupt(), 4),
        (OSError(errno.ENOSPC, "No space left on device", "runs/x"), 3),
        (OSError(errno.EROFS, "Read-only file system", "runs/x"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 3),
        (OSError(errno.EIO, "Input/output error", "runs/x"), 3),
        (OSError(errno.EIO, "Input/output error"), 3),  # as a read that fails says it
        (OSError(errno.ESTALE, "Stale file handle", "runs/x"), 3),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected", "runs/x"), 3),
        (OSError(errno.EMFILE, "Too many open files", "runs/x"), 3),
        (OSError(errno.EFBIG, "File too large", "runs/x"), 3),
        (OSError(errno.ENAMETOOLONG, "File name too long", "runs/x"), 2),
    ],
)
def test_each_way_to_stop_has_its_code_and_one_line(
    stop: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: Sequence[str]) -> None:
        raise stop

    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert ended.value.code == code
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert not stop.args or str(stop.args[-1]) in err or "runs/x" in err
    assert not isinstance(stop, OSError) or re.search(r"; \S", err), "a remedy"


def test_no_message_shows_what_opens_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    def main(_: Sequence[str]) -> None:
        raise RequirementError(f"https://me:{'s3cr'}@host/a and http://tok3n@host; ssh://me@host is no secret")

    with pytest.raises(SystemExit):
        command.run(main)
    said = "error: https://****@host/a and http://****@host; ssh://me@host is no secret\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("bug", [ValueError("shapes differ"), KeyError("x"), OSError(errno.ENOTCONN, "not connected")])
def test_a_bug_keeps_its_traceback(bug: Exception) -> None:
    def main(_: Sequence[str]) -> None:
        raise bug

    with pytest.raises(type(bug)):
        command.run(main)


def test_nobody_who_reads_any_more_is_no_bug_and_another_pipe_that_broke_is_one() -> None:
    program = "from samebench.core import command; command.run(lambda _: {})"
    for main in ("print('few')", "print('x' * 100_000)"):
        read, write = os.pipe()
        os.close(read)
        words = [sys.executable, "-c", program.format(main)]
        done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True)
        os.close(write)
        assert (done.returncode, done.stderr) == (1, "")
    with pytest.raises(BrokenPipeError):
        command.run(broken)


def broken(_: Sequence[str]) -> None:
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


@pytest.mark.parametrize(("answer", "code"), [(None, 0), (0, 0), (1, 1)])
def test_the_answer_is_the_exit_code(answer: int | None, code: int) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(lambda _: answer)
    assert ended.value.code == code


NO_FLAGS = {"samebench.environment.accelerator", "samebench.workspace.lint"}  # they take a command, and a folder
MAKEFILE = (SOURCE.parent / "Makefile").read_text()
MODULES = sorted(set(re.findall(r"python -m (samebench\.[a-z._]+)", MAKEFILE)) - NO_FLAGS)


@pytest.mark.parametrize("module", MODULES)
def test_the_flags_of_a_command_are_read_before_torch_is_loaded(module: str, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch is loaded')\n")
    done = call("-m", module, "--help", at=tmp_path, changes={"PYTHONPATH": f"{tmp_path}:{SOURCE}"})
    assert "torch is loaded" not in done.stderr
    assert done.returncode in {0, 2}


@pytest.mark.parametrize(
    ("module", "message", "code"),
    [
        ("samebench.training", "interrupted\n", command.INTERRUPTED),
        ("samebench.training.trial", "", -signal.SIGINT),  # no command has begun
    ],
)
def test_ctrl_c_while_torch_is_loaded_shows_no_traceback(module: str, message: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(100)\n")
    process = start("-m", module, at=tmp_path, changes={"PYTHONPATH": f"{tmp_path}:{SOURCE}"})
    assert process.stdout
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", message)
    assert process.returncode == code


def test_ctrl_c_in_a_command_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "samebench_slow.py").write_text(
        "import time\nimport samebench.core.command\n"
        "samebench.core.command.run(lambda _: print('at work', flush=True) or time.sleep(100))\n"
    )
    process = start("-m", "samebench_slow", at=tmp_path, changes={"PYTHONPATH": f"{tmp_path}:{SOURCE}"})
    assert process.stdout
    assert process.stdout.readline() == "at work\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == command.INTERRUPTED
