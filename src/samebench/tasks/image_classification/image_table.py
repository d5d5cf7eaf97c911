"""A table of pictures as people save it: a CSV with the columns path and label, in the dialects of spreadsheets.

Read are UTF-8, and UTF-16 with a byte order mark; commas, semicolons or tabs; any line ends; a `sep=` line; a header
in any case with other columns around; spaces around values; empty rows. What could be meant in two ways is refused.
"""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable

MAX_BYTES = 256 << 20  # of a table: some million rows
COLUMNS = ("path", "label")
DELIMITERS = ",;\t"
SEPARATOR = re.compile(r'"?sep=(.)"?[,;\t]*', re.IGNORECASE)  # what Excel takes for a table's delimiter
LINE_END = re.compile(r"\r\n|\r|\n")
EMPTY_LINES = re.compile(r"(?>[ ,;\t]*(?:\r\n|\r|\n))*")
WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
UTF16 = {b"\xff\xfe", b"\xfe\xff"}
SAVE = "save it as CSV UTF-8"


@dataclass(frozen=True)
class Row:
    """A row: the number of its last line, from 1, its path, its label, and why it can't be used, if it can't."""

    line: int
    path: str
    label: str
    problem: str = ""


class Outside(Exception):  # noqa: N818 - where the path leads
    """A path that leads out of the folder of its table; the message says so, as a finding does."""


def read(table: Path) -> Iterator[Row]:
    """The rows below the header. Raises UsageError, naming the line, where it is no such table."""
    text = _decode(untrusted.read_bytes(table.resolve(), max_bytes=MAX_BYTES), table)
    skipped, text = _skip_empty_lines(0, text)
    head, *rest = LINE_END.split(text, maxsplit=1)
    if separator := SEPARATOR.fullmatch(head):
        skipped, text = _skip_empty_lines(skipped + 1, "".join(rest))
        head = LINE_END.split(text, maxsplit=1)[0]
    delimiter, places = _header(head, separator[1] if separator else DELIMITERS, f"FROM={table}, line {skipped + 1}")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for number, cells in enumerate(rows):
            if number and any(cell.strip() for cell in cells):
                yield _row(skipped + rows.line_num, cells, places)
    except csv.Error as error:
        where = f"FROM={table}, line {skipped + max(rows.line_num, 1)}"
        raise UsageError(f"{where}: no CSV in UTF-8 ({error}); close each quote, or {SAVE}") from error


def _skip_empty_lines(skipped: int, text: str) -> tuple[int, str]:
    """How many lines are skipped with these, and the text behind them."""
    empty = EMPTY_LINES.match(text)
    assert empty, "it matches no lines, too"
    return skipped + len(LINE_END.findall(empty[0])), text[empty.end() :]


def _decode(content: bytes, table: Path) -> str:
    encoding = "utf-16" if content[:2] in UTF16 else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = len(LINE_END.findall(before.decode("latin-1"))) + 1
        where, value = f"FROM={table}, line {line}", content[error.start : error.end][:4]
        raise UsageError(f"{where}: no CSV in UTF-8 (the bytes {value!r} are no character of it); {SAVE}") from error
    if "\0" in text[:4]:
        raise UsageError(f"FROM={table}, line 1: no CSV in UTF-8 (UTF-16 without its mark, or UTF-32); {SAVE}")
    return text


def _header(head: str, delimiters: str, where: str) -> tuple[str, tuple[int, int, int]]:
    """The delimiter, the places of path and label, and the number of columns. Raises UsageError."""
    names: list[str] = []
    for delimiter in delimiters:
        try:
            cells = next(csv.reader([head], delimiter=delimiter, skipinitialspace=True), [])
        except csv.Error:
            continue
        names = [cell.replace("\ufeff", "").strip().casefold() for cell in cells]
        if all(names.count(column) == 1 for column in COLUMNS):
            return delimiter, (names.index("path"), names.index("label"), len(names))
        if twice := [column for column in COLUMNS if names.count(column) > 1]:
            raise UsageError(f"{where}: the column {twice[0]} is there twice; give the columns path,label once")
    raise UsageError(f"{where}: its columns are {printable(repr(head), longest=80)}; give the columns path,label")


def _row(line: int, cells: list[str], places: tuple[int, int, int]) -> Row:
    path, label, columns = places
    values = [cells[place] if place < len(cells) else "" for place in (path, label)]
    problem = ""
    if any(cell.strip() for cell in cells[columns:]):
        problem = f"{len(cells)} values in {columns} columns: put a value that has the separator in quotes"
    elif not values[0].strip() or label >= len(cells):
        problem = "no path or no label: give both, or take the line out"
    return Row(line, values[0], values[1].strip(), problem)


class Lookup:
    """The files below a folder by the paths of a table, whichever system has written it."""

    def __init__(self, folder: Path) -> None:
        """Take the folder of the table."""
        self.folder = folder.resolve()
        self._prefixes = (str(folder.absolute()), str(self.folder))
        self._listings: dict[Path, _Names] = {}

    def find(self, path: str) -> str:
        """The path in the folder that a path of the table means, POSIX; as it is where no file is there.

        Backslashes are slashes where nothing has them in its name; accents and case may differ where only one name
        is meant. Raises Outside.
        """
        if WINDOWS.match(path.strip()):
            raise Outside("an absolute path of Windows: give it relative to the table")
        for spelled in dict.fromkeys([path, path.strip(), path.strip().replace("\\", "/")]):
            relative = self._relative(spelled)
            if os.path.lexists(self.folder / relative):
                return relative
            if path_on_disk := self._spelled_otherwise(relative):
                return path_on_disk
        return path

    def _relative(self, path: str) -> str:
        """The path below the folder, without `..`. Raises Outside."""
        path = os.path.normpath(path)
        for prefix in self._prefixes:
            path = path.removeprefix(prefix.rstrip("/") + "/")
        if path.startswith("/") or path.split("/")[0] == "..":
            raise Outside("leads out of the folder")
        return path

    def _spelled_otherwise(self, relative: str) -> str:
        """The one path whose parts have these names but for accents and case; empty without one."""
        parts: list[str] = []
        for part in relative.split("/"):
            if not (name := self._names(self.folder.joinpath(*parts)).find(part)):
                return ""
            parts.append(name)
        return "/".join(parts)

    def _names(self, folder: Path) -> "_Names":
        """What lies in a folder; nothing in one that a link leads out to."""
        if folder not in self._listings:
            names: list[str] = []
            with suppress(OSError, RuntimeError):
                if folder.resolve(strict=True).is_relative_to(self.folder):
                    names = [each.name for each in folder.iterdir()]
            self._listings[folder] = _Names(names)
        return self._listings[folder]


class _Names:
    """The names in a folder, by what does not change with the form of an accent, and with the case either."""

    def __init__(self, names: list[str]) -> None:
        self._exact = set(names)
        self._composed, self._lowered = dict[str, list[str]](), dict[str, list[str]]()
        for name in names:
            composed = unicodedata.normalize("NFC", name)
            self._composed.setdefault(composed, []).append(name)
            self._lowered.setdefault(composed.lower(), []).append(name)

    def find(self, name: str) -> str:
        """The only name that is as this one; empty without one, or with several."""
        if name in self._exact:
            return name
        composed = unicodedata.normalize("NFC", name)
        alike = self._composed.get(composed) or self._lowered.get(composed.lower(), [])
        return alike[0] if len(alike) == 1 else ""
