"""Thoughts kept with a run, in its folder's notes.md: each with its time, none ever changed.

NOTE="why" python -m samebench.runs.notes --run runs/20261123-201500-abcd

The text comes from the environment, where no shell and no make has a look at it.
"""

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from samebench.core import command, file_lock, files, flags
from samebench.core.command import UsageError
from samebench.runs import records

VARIABLE = "NOTE"
FILE = "notes.md"
MOST = 1 << 20  # bytes that are read
FIRST_LINE = re.compile(r"- (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)  (.*)", re.DOTALL)
INDENT = "  "


@dataclass(frozen=True)
class Note:
    """A thought, and when it came (UTC)."""

    at: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which run."""

    run: str = field(default="", metadata={"help": "a run's directory or name; empty: the one made last"})


def read(directory: Path) -> list[Note]:
    """The notes of the run in `directory`, the newest last; lines that somebody else has put there are skipped."""
    entries: list[tuple[str, list[str]]] = []
    for line in _content(directory).decode(errors="replace").split("\n"):
        if match := FIRST_LINE.fullmatch(line):
            entries.append((match[1], [match[2]]))
        elif entries and line.startswith(INDENT):
            entries[-1][1].append(line.removeprefix(INDENT))
    return [Note(at, "\n".join(lines)) for at, lines in entries]


def add(directory: Path, text: str) -> Note:
    """Put a note at the end.

    Raises UsageError for an empty one or a linked folder, OSError where it can't be written.
    """
    records.check_is_no_link(directory)
    if not text.strip():
        raise UsageError("TEXT=: empty; give what is to be kept, such as TEXT='why I tried this'")
    if (directory / FILE).is_dir():
        raise UsageError(f"{directory / FILE}: a folder; call it something else, the notes come there")
    note = Note(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", text)
    with file_lock.exclusive(directory):
        before = _content(directory, most=None)
        line = f"- {note.at}{INDENT}" + text.replace("\n", f"\n{INDENT}") + "\n"
        ended = b"\n" if before and not before.endswith(b"\n") else b""
        files.write(directory / FILE, before + ended + line.encode(errors="surrogateescape"))
    return note


def _content(directory: Path, *, most: int | None = MOST) -> bytes:
    """The end of what is there, of so many bytes at most; a link or a folder in its place is nothing of ours."""
    path = directory / FILE
    if directory.is_symlink() or path.is_symlink() or not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            file.seek(-min(most or sys.maxsize, path.stat().st_size), os.SEEK_END)
            return file.read()
    except PermissionError:
        if most is None:
            raise
        return b""


def main(argv: Sequence[str]) -> None:
    """Keep the text, and say where."""
    args = flags.parse(Args, argv, program="python -m samebench.runs.notes", about="Keep a thought with a run.")
    record = records.find_or_newest(args.run)
    add(record.directory, os.environ.get(VARIABLE, ""))
    print(record.directory / FILE)


if __name__ == "__main__":
    command.run(main)
