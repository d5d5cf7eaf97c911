"""The one place that starts programs: to ask them, to show what they say, to wait for them, or to become them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

MISSING, NOT_RUNNABLE = 127, 126  # exit codes, as a shell gives them
CREDENTIALS = re.compile(r"(\w://)[^/@\s]*@")


def print_message(line: str) -> None:
    """One line of ours for the user."""
    if sys.stderr:  # it may be closed; None would mean stdout
        print(f"samebench: {line}", file=sys.stderr, flush=True)


def without_credentials(text: str) -> str:
    """The same with **** for the user and the password of each address."""
    return CREDENTIALS.sub(r"\1****@", text)


def capture(
    words: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """What a program answers. One that is not there has the exit code 127."""
    try:
        result = subprocess.run(words, env=environment, input=stdin, capture_output=True)
    except OSError as error:
        code = MISSING if isinstance(error, FileNotFoundError) else NOT_RUNNABLE
        return subprocess.CompletedProcess(words, code, "", f"{words[0]}: {error.strerror}")
    out, err = os.fsdecode(result.stdout), os.fsdecode(result.stderr)  # a path that git names may have any bytes
    return subprocess.CompletedProcess(words, result.returncode, out, err)


def output_of(words: Sequence[str]) -> str:
    """What a program says on stdout, without the last newline; "" where it fails."""
    result = capture(words)
    return "" if result.returncode else result.stdout.rstrip("\n")


def succeeds(words: Sequence[str]) -> bool:
    """Whether a program ends with 0."""
    return capture(words).returncode == 0


def run(
    words: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    mask: bool = False,
    pass_fds: Sequence[int] = (),
) -> int:
    """The exit code of a program whose output goes to stderr, with `mask` without credentials.

    Ctrl-C reaches it, too: it is waited for, and then the KeyboardInterrupt goes on.
    """

    def show(line: bytes) -> None:
        sys.stderr.write(without_credentials(line.decode(errors="replace")))
        sys.stderr.flush()

    sys.stderr.flush()
    out, err = (subprocess.PIPE, subprocess.STDOUT) if mask else (2, None)
    with subprocess.Popen(words, env=environment, stdout=out, stderr=err, pass_fds=tuple(pass_fds)) as child:
        return _wait(child, show)


def output(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
    """The exit code and the stdout of a program whose stderr is ours. Ctrl-C waits for it, as in `run`."""
    lines: list[bytes] = []
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as child:
        code = _wait(child, lines.append)
    return code, os.fsdecode(b"".join(lines))


def run_with_stdin(words: Sequence[str], stdin: bytes, *, environment: Mapping[str, str] | None = None) -> int:
    """The exit code of a program that has our output, and reads what it is given. Ctrl-C waits for it, as in `run`."""
    with tempfile.TemporaryFile() as file:  # not a pipe, which nobody would fill while we wait
        file.write(stdin)
        file.seek(0)
        with subprocess.Popen(words, env=environment, stdin=file) as child:
            return _wait(child, lambda _line: None)


def _wait(child: subprocess.Popen[bytes], take: Callable[[bytes], object]) -> int:
    """The exit code of a program, each line of whose output is handed over. Ctrl-C is raised once it has ended."""
    interrupted = None
    while True:
        try:
            for line in child.stdout or ():
                take(line)
            child.wait()
            break
        except KeyboardInterrupt as error:
            interrupted = error
    if interrupted:
        raise interrupted
    return shell_code(child.returncode)


def shell_code(returncode: int) -> int:
    """The exit code that a shell gives where Python says -9 for a signal."""
    return 128 - returncode if returncode < 0 else returncode


def exec_program(words: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by a program, found on the PATH of its environment."""
    sys.stdout.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores both, and a program inherits that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(words[0], list(words), dict(environment))  # noqa: S606
    except OSError as error:
        print_message(f"{words[0]}: {error.strerror}")
        sys.exit(MISSING if isinstance(error, FileNotFoundError) else NOT_RUNNABLE)


def run_forwarding_signals(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of a program that has our input and output.

    SIGTERM is passed on. Ctrl-C reaches it from the terminal. So somebody is there to speak when it dies.
    """
    numbers: list[int] = []
    child: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: object) -> None:
        numbers.append(number)
        if child:
            child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)  # not SIG_IGN, which the program would inherit
    child = subprocess.Popen(words, env=dict(environment))
    for number in numbers:
        child.send_signal(number)
    return shell_code(child.wait())
