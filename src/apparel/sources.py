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
    """What is wrong with a file, or looks so, and what was done."""

    path: str
    label: str
    found: str
    done: str = LEFT_OUT


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
            if not inside:
                raise Unusable("leads out of the folder")
            if not stat.S_ISREG(status.st_mode):
                raise Unusable("a folder, no file" if stat.S_ISDIR(status.st_mode) else "no ordinary file")
            if status.st_size > MOST_BYTES:
                raise Unusable(f"{status.st_size:,} bytes, at most {MOST_BYTES:,} are read")
            return path.read_bytes()
        except FileNotFoundError:
            raise Unusable("a link to nothing" if path.is_symlink() else "not there") from None
        except (OSError, RuntimeError, ValueError) as error:
            if isinstance(error, Unusable):
                raise
            raise Unusable(f"can't be read ({getattr(error, 'strerror', None) or error})") from error


class Unusable(ValueError):  # noqa: N818 - what the file is
    """A file that is no picture; the message says why."""


def found_in(source: Path) -> tuple[list[Source], list[Finding]]:
    """The files that should be pictures, in the order of their paths, and what else there was.

    Raises Refusal for a source that is neither a folder nor a CSV, and for a label that can't be one.
    """
    if source.is_dir():
        root, found = source, list(_in_folder(source))
    elif source.is_file() and source.suffix.lower() == ".csv":
        root, found = source.parent, list(_in_csv(source))
    else:
        raise Refusal(f"FROM={source}: give a folder with one sub-folder a class, or a .csv with the columns path,label")
    sources = [Source(each.path, each.label, root) for each in found if not each.found]
    return sorted(sources, key=lambda each: (each.path, each.label)), [each for each in found if each.found]


def _in_folder(root: Path) -> Iterator[Finding]:
    """Each entry of the classes' folders: without a finding if it should be a picture."""
    for entry in _entries(root):
        if not entry.is_dir(follow_symlinks=False):
            yield Finding(entry.name, "", "outside of every class's folder")
        elif entry.name.startswith("."):
            yield Finding(f"{entry.name}/", "", "hidden")
        else:
            label = _label(entry.name, f"FROM={root}")
            inside = _entries(Path(entry))
            if not inside:
                yield Finding(f"{entry.name}/", label, "empty")
            for each in inside:
                path = f"{entry.name}/{each.name}"
                if each.is_dir(follow_symlinks=False):
                    yield Finding(f"{path}/", label, "a folder in a class's folder")
                else:
                    yield Finding(path, label, "hidden" if each.name.startswith(".") else "", "")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda each: each.name)
    except PermissionError as error:
        raise Refusal(f"FROM: {folder} can't be read ({error.strerror}); make it readable") from error


def _in_csv(path: Path) -> Iterator[Finding]:
    """Each line of the table."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            table = csv.DictReader(file, strict=True)
            if not {"path", "label"} <= set(table.fieldnames or []):
                raise Refusal(f"FROM={path}: its first line is {table.fieldnames}; give the columns path,label")
            for row in table:
                if not row["path"] or row["label"] is None:
                    raise Refusal(f"FROM={path}, line {table.line_num}: no path or no label; give both, or take it out")
                yield Finding(row["path"], _label(row["label"], f"FROM={path}, line {table.line_num}"), "", "")
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
