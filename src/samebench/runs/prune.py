"""Deletes the runs that are not to be kept, or those that are named, after it has told which and asked.

python -m samebench.runs.prune --keep best,last,5
python -m samebench.runs.prune --delete 20261123-201500-abcd
"""

import errno
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from samebench import project
from samebench.core import command, file_lock, flags, table
from samebench.core.command import UsageError
from samebench.core.file_lock import BusyError
from samebench.core.text import printable
from samebench.runs import list_runs, metrics, records
from samebench.runs.records import Record

TRASH_PREFIX = ".pruned-"  # how the folder begins in which a run is deleted: nothing there is taken for a run
IN_USE = {errno.EBUSY, errno.ENOTEMPTY}  # what a network file system says of a folder with an open file
GIVE = "give best, last, a number of the newest or names of runs, such as KEEP=best,5"
ONLY_NAMED = "those there are can't be read or reproduce others, and must be named"
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # a name that make and a shell leave as it is


@dataclass(frozen=True, kw_only=True)
class Args:
    """What to keep, or what to delete."""

    keep: str = field(default="", metadata={"help": "best, last, how many of the newest, names of runs; with commas"})
    delete: str = field(default="", metadata={"help": "names of runs, with commas; a damaged run goes only so"})
    yes: bool = field(default=False, metadata={"help": "don't ask"})


def select_to_keep(runs: Sequence[Record], keep: str) -> set[str]:
    """The names of the runs to keep: those that `keep` names, and those they were started from.

    What is damaged stays too: nobody knows what is in it. A training that died before its first receipt has left
    nothing, and goes. Raises UsageError for a word that names nothing.
    """
    to_keep = {name for word in keep.split(",") for name in _match_word(word.strip(), runs, keep)}
    to_keep |= {record.name for record in runs if record.state in {"running", "damaged"} and not record.died_early}
    to_keep |= {record.name for record in runs if record.project not in {"", project.name()}}
    called = {record.receipt.get("run", record.name): record.name for record in runs}  # a folder can be renamed
    while more := {called.get(_origin(record), "") for record in runs if record.name in to_keep} - to_keep - {""}:
        to_keep |= more
    return to_keep


def size(directory: Path) -> int:
    """Bytes of all files in the folder; what links lead to is not in it, nor what has gone meanwhile."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(FileNotFoundError):
                total += Path(folder, name).lstat().st_size
    return total


def delete(record: Record) -> None:
    """Delete a run so that no half of it is ever taken for one.

    Raises BusyError where a process is at work on it, or has been since the record was read, PermissionError where it
    is another user's.
    """
    directory = record.directory
    if directory.is_symlink():
        directory.unlink()  # what it leads to is not ours
        return
    if not all(os.access(folder, os.W_OK | os.X_OK) for folder, _, _ in os.walk(directory)):
        raise PermissionError(errno.EACCES, "Permission denied", str(directory))
    handle, _ = file_lock.acquire(directory)
    try:
        changed = json.dumps(records.read(directory).receipt) != json.dumps(record.receipt)
        if changed or (record.died_early and not records.has_no_work(directory)):
            raise BusyError(f"{directory}: not as it was listed, a process has been at work on it; look again")
        trash = Path(tempfile.mkdtemp(prefix=TRASH_PREFIX, dir=directory.parent))
        directory.rename(trash / directory.name)
    finally:
        os.close(handle)
    shutil.rmtree(trash)  # the lock is closed: NFS keeps a file that is open, and so its folder


def clear(home: Path) -> None:
    """Delete what a killed deletion has left."""
    for trash in home.glob(f"{TRASH_PREFIX}*"):
        shutil.rmtree(trash, ignore_errors=True)  # no links; what could not be deleted need not be possible now


def _match_word(word: str, runs: Sequence[Record], keep: str) -> Iterable[str]:
    names = [record.name for record in runs]
    if word == "best":
        if not (top := records.best(runs)):
            raise UsageError(f"KEEP={keep}: no run is done, so none is the best; {GIVE}")
        return [record.name for record in top]
    if word == "last" or (word.isdecimal() and int(word)):
        if not (newest := [record.name for record in records.ordinary(runs)]):
            raise UsageError(f"KEEP={keep}: no run is the last, {ONLY_NAMED}; {GIVE}")
        return newest[: 1 if word == "last" else int(word)]
    if word.removeprefix("runs/") in names:
        return [word.removeprefix("runs/")]
    raise UsageError(f"KEEP={keep}: {word or 'nothing'} is no run; {GIVE}")


def select_named(runs: Sequence[Record], delete_words: str) -> list[Record]:
    """The runs that `delete_words` names. Raises UsageError for a word that names none."""
    by_name = {record.name: record for record in runs}
    words = [word.strip().removeprefix("runs/") for word in delete_words.split(",")]
    for word in words:
        if word not in by_name:
            raise UsageError(f"DELETE={delete_words}: {word or 'nothing'} is no run; make runs lists those there are")
    return [by_name[word] for word in dict.fromkeys(words)]


def explain_damaged(runs: Iterable[Record]) -> None:
    """Say on standard error of each damaged run why it stays, and what deletes it."""
    for record in runs:
        if record.state == "damaged" and not record.died_early:
            plain = PLAIN.fullmatch(record.name)
            remedy = f"make prune DELETE={record.name}" if plain else "rename it to letters and digits first"
            message = f"stays: {record.directory}: {record.damage}; a damaged run is deleted by its name only: {remedy}"
            print(printable(message), file=sys.stderr)


def _origin(record: Record) -> str:
    """The run whose weights this one began with, if any."""
    init = record.receipt.get("init")
    run = init.get("run") if isinstance(init, dict) else None
    return Path(run).name if isinstance(run, str) else ""


def listing(to_delete: Sequence[Record], sizes: Sequence[int]) -> str:
    """What goes, at least one run, with the megabytes of each."""
    figures = [metrics.columns([record.receipt])[0] for record in to_delete]
    title = figures[0] if len(set(figures)) == 1 else "validation"  # runs of two projects have two metrics
    rows = []
    for record, figure, each in zip(to_delete, figures, sizes, strict=True):
        cells = list_runs.row(record, {}, [figure])
        row = {"run": cells["run"], "state": cells["state"], title: cells[figure]}
        rows.append(row | {"MB": f"{each / 1e6:.1f}", "note": cells["note"]})
    return table.render(rows, columns=table.terminal_width(), numbers={title, "MB"}, truncatable=["note"])


def confirm(question: str) -> bool:
    """Whether the user says yes. Raises UsageError where there is nobody to ask."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"{question}: no terminal to ask on, so nothing is deleted; say it with YES=1")
    try:
        return input(f"{question}: delete them? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def main(argv: Sequence[str]) -> int:
    """Tell, ask, delete; 1 if that is not wanted, or a run had to stay."""
    args = flags.parse(Args, argv, program="python -m samebench.runs.prune", about="Delete runs that are not kept.")
    if args.keep.strip() and args.delete.strip():
        raise UsageError(f"KEEP={args.keep} and DELETE={args.delete}: give one of them")
    if not (args.keep.strip() or args.delete.strip()):
        raise UsageError(f"KEEP=: {GIVE}; or DELETE= and names of runs")
    runs = records.find()
    if args.delete.strip():
        to_delete = select_named(runs, args.delete)
    else:
        to_keep = select_to_keep(runs, args.keep)
        to_delete = [record for record in runs if record.name not in to_keep]
        explain_damaged(runs)
    if not to_delete:
        print(f"nothing to delete, all {len(runs)} runs are kept")
        return command.DONE
    sizes = [size(record.directory) for record in to_delete]
    print(listing(to_delete, sizes), flush=True)
    if not args.yes and not confirm(f"{len(to_delete)} of {len(runs)} runs, {sum(sizes) / 1e6:.1f} MB"):
        print("nothing is deleted")
        return command.NO
    return delete_runs(to_delete)


def delete_runs(to_delete: Sequence[Record]) -> int:
    """Delete these runs, of one folder, and say what had to stay."""
    home = to_delete[0].directory.parent
    not_deleted: list[str] = []
    deleted = 0
    with file_lock.exclusive(home):
        clear(home)
        for record in to_delete:
            try:
                with suppress(FileNotFoundError):  # somebody else was quicker
                    delete(record)
                    deleted += 1
            except BusyError as busy:
                not_deleted.append(str(busy))
            except PermissionError:
                not_deleted.append(f"{record.directory}: another user's; ask them to delete it")
            except OSError as error:
                if not (reason := command.describe_os_error(error)) and error.errno not in IN_USE:
                    raise
                not_deleted.append(
                    f"{record.directory}: {reason or f'{error.strerror}; a file in it is in use, stop its user'}"
                )
    for line in not_deleted:
        print(printable(f"left: {line}"), file=sys.stderr)
    print(f"{deleted} deleted")
    return command.NO if not_deleted else command.DONE


if __name__ == "__main__":
    command.run(main)
