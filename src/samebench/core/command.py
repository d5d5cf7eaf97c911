"""How our command-line programs end: one line for the user's mistakes, a traceback for ours.

Exit codes: 0 done, 1 the answer is no, 2 wrong use or input, 3 the machine lacks what was asked for,
4 interrupted and resumable.
"""

import errno
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NoReturn

from samebench.core import files
from samebench.core.text import clean_stdout, printable, without_credentials
from samebench.host.errors import RequirementError, UsageError

__all__ = [
    "Interrupted",
    "RequirementError",
    "UsageError",
    "describe_os_error",
    "for_each",
    "is_stdout_closed",
    "run",
]

DONE, NO, WRONG_USE, LACKING, INTERRUPTED = range(5)

# A variable for the processes that launch.py starts: the words by which make is asked for the same.
LAUNCH = "SAMEBENCH_LAUNCH"

# torchrun gives them to what it starts. The first four alone are left in many a shell by clusters and other launchers.
WORKER = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"}

SPEAKER_SECONDS = 10.0  # for another process to print its message and end

ROOM = "free some room, or work in another directory"
WRITABLE = "make it writable, or work in another directory"
STORAGE = "see that the disk, or the file server, works (dmesg says more), then once more"
# What the machine refuses by errno, with the remedy. ESTALE: the file server has lost the file; ENOTCONN: the program
# behind a mounted folder has ended; EUCLEAN and EREMOTEIO are Linux's own.
REMEDY_BY_ERRNO = {
    **dict.fromkeys(files.FULL, ROOM),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), WRITABLE),
    **{getattr(errno, name): STORAGE for name in ("EIO", "ESTALE", "EUCLEAN", "EREMOTEIO") if hasattr(errno, name)},
    errno.EFBIG: "raise the limit for a file's size (ulimit -f), or work on another file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "end programs with many open files: the machine's limit is reached",
    errno.ENOMEM: "free some memory",
}
# Those that sockets know, too: here they are of the machine only where they name a file.
REMEDY_FOR_FILES = dict.fromkeys((errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), STORAGE)
WRONG_NAMES = dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "give another name")


class Interrupted(Exception):  # noqa: N818 - an ending, not an error
    """The user or the system asked to stop; the message says what is kept."""


def run(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """End the process with `main`'s exit code, or with the code and one line for how it stopped.

    `main` takes the arguments after the program's name and returns None for 0.
    """
    clean_stdout()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as the package has left it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not os.environ.keys() >= WORKER:
        sys.exit(_exit_code(main))
    # gloo's threads let go of their last tensor when they get to it. Where Python is being taken down by then,
    # they abort the process and its exit code is lost: so it ends without Python's own last steps.
    try:
        code = _exit_code(main)
    except Exception:  # noqa: BLE001 - to be shown, as Python would
        sys.excepthook(*sys.exc_info())
        code = NO
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(code)


def _exit_code(main: Callable[[Sequence[str]], int | None]) -> int:
    try:
        code = main(sys.argv[1:]) or DONE
        sys.stdout.flush()
    except UsageError as refusal:
        return _print_message(refusal, WRONG_USE)
    except RequirementError as lacking:
        return _print_message(lacking, LACKING)
    except Interrupted as interrupted:
        return _print_message(interrupted, INTERRUPTED)
    except KeyboardInterrupt:
        return _print_message("interrupted", INTERRUPTED)
    except BrokenPipeError:
        if not _silence_closed_stdout():
            raise
        return NO
    except OSError as error:
        if error.errno in WRONG_NAMES and error.filename is not None:
            return _print_message(f"{error.filename}: {error.strerror}; {WRONG_NAMES[error.errno]}", WRONG_USE)
        if not (reason := describe_os_error(error)):
            raise
        return _print_message(reason, LACKING)
    return code


def for_each(names: Iterable[str], action: Callable[[str], None]) -> None:
    """Call `action` for each name, whatever becomes of the others; the last refusal is raised, those before printed."""
    refusals: list[UsageError | RequirementError] = []
    for name in names:
        try:
            action(name)
        except (UsageError, RequirementError) as refusal:
            refusals.append(refusal)
    for each in refusals[:-1]:
        print(f"error: {printable(each)}", file=sys.stderr)
    if refusals:
        raise refusals[-1]


def describe_os_error(error: BaseException) -> str:
    """What the machine refuses, where and the remedy, in one line; empty for each other error."""
    if not isinstance(error, OSError) or error.errno is None:
        return ""
    remedies = REMEDY_BY_ERRNO | (REMEDY_FOR_FILES if error.filename is not None else {})
    if error.errno not in remedies:
        return ""
    where = "a file" if error.filename is None else error.filename
    return f"{where}: {error.strerror}; {remedies[error.errno]}"


def is_stdout_closed() -> bool:
    """Whether who read our lines has gone, as `head` does."""
    try:
        pipe = select.poll()
        pipe.register(sys.stdout, 0)  # asks for nothing but that
        return bool(pipe.poll(0))
    except (OSError, ValueError):
        return False  # it is no file of the system's, such as a notebook's


def _silence_closed_stdout() -> bool:
    """The same; then Python need not try once more at its end."""
    closed = is_stdout_closed()
    if closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return closed


def _print_message(message: object, code: int) -> int:
    if not str(message):
        _wait_for_the_speaker()
        return code
    line = without_credentials(printable(message))
    print(f"error: {line}" if code != INTERRUPTED else line, file=sys.stderr, flush=True)
    return code


def _wait_for_the_speaker() -> None:
    """Let the process speak that has the message: the launcher kills the others as soon as the first one ends.

    The launcher's SIGTERM ends the wait. So does the bound, where the speaker is on another machine.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    time.sleep(SPEAKER_SECONDS)
