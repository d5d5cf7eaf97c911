"""Where the pictures of a data set come from: a folder with one sub-folder a class, or a CSV of paths and labels.

What is none is found, never followed: a finding says what it is, and what was done about it.
"""

import csv
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from samebench.command import Refusal

MOST_BYTES = 128 << 20  # of a file: a picture of 4096x4096 pixels with four channels takes half of it unpacked
LABEL_LENGTH = 100
JOINERS = "\u200c\u200d"  # no letters, and Persian, Hindi and others can't be written without them
LEFT_OUT, KEPT = "left out", "kept"


class Finding(NamedTuple):
    """What is wrong with a file, or looks so, as `kind` or `kind: detail`, and what was done."""

    path: str
    label: str
    found: str
    done: str = LEFT_OUT


class Unusable(Exception):  # noqa: N818 - what the file is
    """A file that is no picture; the message says why, as a finding does."""


@dataclass(frozen=True)
class Source:
    """A file that should be a picture: its path below the folder, POSIX, its class, and the folder."""

    path: str
    label: str
    root: Path

    def read(self) -> bytes:
        """Its content. Raises Unusable where it is no file in the folder, or one that can't be read."""
        path = self.root / self.path
        try:
            inside = path.resolve(strict=True).is_relative_to(self.root.resolve())
            status = path.stat()
            if not inside or Path(self.path).is_absolute():
                raise Unusable("leads out of the folder")
            if not stat.S_ISREG(status.st_mode):
                raise Unusable("a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file")
            if status.st_size > MOST_BYTES:
                raise Unusable(f"too large: {status.st_size:,} bytes, at most {MOST_BYTES:,} are read")
            return path.read_bytes()
        except FileNotFoundError:
            raise Unusable("a link to nothing" if path.is_symlink() else "not there") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise Unusable(f"can't be read: {getattr(error, 'strerror', None) or error}") from error


def found_in(source: Path) -> tuple[list[Source], list[Finding]]:
    """The files that should be pictures, in the order of their paths, and what else there was.

    Raises Refusal for a source that is neither a folder nor a CSV, and for a label that can't be one.
    """
    if source.is_dir():
        found = list(_in_folder(source))
    elif source.is_file() and source.suffix.lower() == ".csv":
        found = list(_in_csv(source))
    else:
        what = "neither of them" if source.exists() else "not there"
        raise Refusal(
            f"FROM={source}: {what}; give a folder with one sub-folder a class, or a .csv with the columns path,label"
        )
    sources = sorted((each for each in found if isinstance(each, Source)), key=lambda each: (each.path, each.label))
    return sources, [each for each in found if isinstance(each, Finding)]


def _in_folder(root: Path) -> Iterator[Source | Finding]:
    for entry in _entries(root):
        if entry.name.startswith("."):
            yield Finding(entry.name, "", "hidden")
        elif entry.is_dir(follow_symlinks=False):
            yield from _in_class(Path(entry), _label(entry.name, f"FROM={root}"), root)
        else:
            yield Finding(entry.name, "", "outside of every class's folder")


def _in_class(folder: Path, label: str, root: Path) -> Iterator[Source | Finding]:
    entries = _entries(folder)
    if not entries:
        yield Finding(folder.name, label, "an empty folder")
    for entry in entries:
        path = f"{folder.name}/{entry.name}"
        if entry.name.startswith("."):
            yield Finding(path, label, "hidden")
        else:
            yield Source(path, label, root)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda each: each.name)
    except PermissionError as error:
        raise Refusal(f"FROM: {folder} can't be read ({error.strerror}); make it readable") from error


def _in_csv(path: Path) -> Iterator[Source]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            table = csv.DictReader(file, strict=True)
            if not {"path", "label"} <= set(table.fieldnames or []):
                raise Refusal(f"FROM={path}: its first line is {table.fieldnames}; give the columns path,label")
            for row in table:
                where = f"FROM={path}, line {table.line_num}"
                if not row["path"] or row["label"] is None:
                    raise Refusal(f"{where}: no path or no label; give both, or take the line out")
                yield Source(row["path"], _label(row["label"], where), path.parent)
        except (csv.Error, UnicodeDecodeError) as error:
            raise Refusal(f"FROM={path}: no CSV in UTF-8 ({error}); save it as one") from error


def _label(name: str, where: str) -> str:
    """The label as people read it, whichever way its accents were written. Raises Refusal for an unreadable one."""
    label = unicodedata.normalize("NFC", name)
    legible = label == label.strip() and all(each.isprintable() or each in JOINERS for each in label)
    if not (legible and 0 < len(label) <= LABEL_LENGTH):
        rule = f"printable characters, at most {LABEL_LENGTH}, no spaces around them"
        raise Refusal(f"{where}: label {ascii(name)[:80]}: take {rule}")
    return label


def legible(path: str) -> str:
    """A path as a file of text can have it: what is no character is told as its bytes."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
