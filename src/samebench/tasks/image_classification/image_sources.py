"""Where the pictures of a data set come from: a folder with one sub-folder a class, or a CSV of paths and labels.

Every entry and every row becomes a `Source`, which is read, or a `Finding`, which says why it is not.
"""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.tasks.image_classification import image_table

MOST_BYTES = 128 << 20  # of a file
LABEL_LENGTH = 100
JOINERS = "\u200c\u200d"  # no letters, and Persian, Hindi and others can't be written without them
LEFT_OUT, KEPT, REFUSED = "left out", "kept", "refused"  # REFUSED: nothing is imported because of it
LEADS_OUT = "leads out of the folder: put the picture itself in its place, such as by cp -L"
FOLDER = "a folder: put its pictures into the folder of their class"
ALIKE = "a label almost like"
SYSTEM = "a system's own"
SYSTEM_NAMES = {  # what Windows, macOS and network drives put beside pictures, in lower case
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "zbthumbnail.info", "picasa.ini", "albumart.pamp",
    "@eadir", "#recycle", "#snapshot", "@recycle", "@tmp", "__macosx", "$recycle.bin", "system volume information",
    "network trash folder", "temporary items", "icon\r", "lost.dir",
}  # fmt: skip


class Finding(NamedTuple):
    """What is wrong with a file, or looks so, as `kind` or `kind: detail`, what was done, and the line of a CSV."""

    path: str
    label: str
    found: str
    done: str = LEFT_OUT
    line: str = ""


class UnusableFileError(Exception):
    """A file that is no picture; the message says why, as a finding does."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file that should be a picture: its path below `root`, POSIX, its class, and its line in a CSV, if any.

    It may lie in `folder` alone: `root`, or where the link to its class's folder leads.
    """

    path: str
    label: str
    root: Path
    folder: Path
    line: str = ""

    def finding(self, found: str, done: str = LEFT_OUT) -> Finding:
        """What was found of it."""
        return Finding(self.path, self.label, found, done, self.line)

    def read(self) -> bytes:
        """Its content. Raises UnusableFileError where it is no file in the folder, or one that can't be read."""
        path = self.root / self.path
        try:
            resolved = path.resolve(strict=True)
            if not resolved.is_relative_to(self.folder):
                raise UnusableFileError(LEADS_OUT)
            status = resolved.stat()
            if not stat.S_ISREG(status.st_mode):
                raise UnusableFileError(FOLDER if stat.S_ISDIR(status.st_mode) else "no ordinary file")
            if status.st_size > MOST_BYTES:
                raise UnusableFileError(f"too large: {status.st_size:,} bytes, at most {MOST_BYTES:,} are read")
            return untrusted.read_bytes(resolved, max_bytes=MOST_BYTES)
        except FileNotFoundError:
            raise UnusableFileError("a link to nothing" if path.is_symlink() else "not there") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise UnusableFileError(f"can't be read: {_reason(error)}") from error


def found_in(source: Path) -> tuple[list[Source], list[Finding]]:
    """The files that should be pictures, in the order of their paths, and what else there was.

    Raises UsageError for a source that is neither a folder nor a CSV, or that can't be read.
    """
    try:
        if source.is_dir():
            items = list(_in_folder(source))
        elif source.is_file() and source.suffix.lower() == ".csv":
            items = list(_in_csv(source))
        else:
            what = "neither of them" if source.exists() else "not there"
            give = "a folder with one sub-folder a class, or a .csv with the columns path,label"
            raise UsageError(f"FROM={source}: {what}; give {give}")
    except OSError as error:
        raise UsageError(f"FROM={source}: can't be read ({_reason(error)}); make it readable") from error
    sources = sorted((each for each in items if isinstance(each, Source)), key=lambda each: (each.path, each.label))
    findings = [each for each in items if isinstance(each, Finding)]
    return sources, [*findings, *_like_each_other(each.label for each in sources)]


def _in_folder(root: Path) -> Iterator[Source | Finding]:
    entries, home = _entries(root), root.resolve(strict=True)
    places = {(home / entry.name): entry.name for entry in entries if entry.is_dir(follow_symlinks=False)}
    labels: dict[str, str] = {}
    for entry in entries:
        label = unicodedata.normalize("NFC", entry.name)
        if problem := _entry_problem(entry, home, places):
            yield Finding(entry.name, "", problem)
        elif problem := label_problem(label):
            yield Finding(entry.name, label, problem, REFUSED)
        else:
            if (first := labels.setdefault(label, entry.name)) != entry.name:
                yield Finding(entry.name, label, f"a folder of the same class as: {first}", KEPT)
            yield from _in_class(Path(entry), label, root)


def _entry_problem(entry: os.DirEntry[str], home: Path, places: dict[Path, str]) -> str:
    """Why an entry of the folder is no class; empty if it is one. Puts the folder behind a link into `places`."""
    if problem := _unwanted(entry.name):
        return problem
    if not entry.is_symlink():
        return "" if entry.is_dir() else "outside of every class's folder"
    try:
        target = Path(entry).resolve(strict=True)
    except FileNotFoundError:
        return "a link to nothing"
    except (OSError, RuntimeError) as error:
        return f"can't be read: {_reason(error)}"
    if not target.is_dir():
        return "outside of every class's folder"
    if home.is_relative_to(target):
        return "a link to a folder that this one lies in"
    if (first := places.setdefault(target, entry.name)) != entry.name:
        return f"a link to the same folder as: {first}"
    return ""


def _in_class(folder: Path, label: str, root: Path) -> Iterator[Source | Finding]:
    try:
        entries, is_link = _entries(folder), folder.is_symlink()
        home = (folder if is_link else root).resolve(strict=True)
    except (OSError, RuntimeError) as error:
        yield Finding(folder.name, label, f"can't be read: {_reason(error)}")
        return
    if is_link:
        yield Finding(folder.name, label, "a link to a folder: its pictures were read", KEPT)
    if not entries:
        yield Finding(folder.name, label, "an empty folder")
    for entry in entries:
        path = f"{folder.name}/{entry.name}"
        if problem := _unwanted(entry.name):
            yield Finding(path, label, problem)
        else:
            yield Source(path, label, root, home)


def _unwanted(name: str) -> str:
    """Why nobody means a file or folder of this name as a picture or a class; empty if it may be one."""
    if name.lower() in SYSTEM_NAMES:
        return f"{SYSTEM}: {name}"
    return "hidden" if name.startswith(".") else ""


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda each: each.name)


def _in_csv(table: Path) -> Iterator[Source | Finding]:
    """Each row; a path and label that were in a row before are there once."""
    folder = table.parent.resolve()
    lookup, lines = image_table.Lookup(table.parent), dict[tuple[str, str], str]()
    for row in image_table.read(table):
        line, label = str(row.line), unicodedata.normalize("NFC", row.label)
        if problem := row.problem or label_problem(label):
            yield Finding(row.path, label, problem, REFUSED, line)
            continue
        try:
            path = lookup.find(row.path)
        except image_table.Outside as reason:
            yield Finding(row.path, label, f"{reason}", LEFT_OUT, line)
            continue
        if (first := lines.setdefault((path, label), line)) != line:
            yield Finding(row.path, label, f"in the table before: line {first}", LEFT_OUT, line)
        else:
            yield Source(path, label, folder, folder, line)


def label_problem(label: str) -> str:
    """Why people can't read this label; empty if they can."""
    legible = label == label.strip() and all(each.isprintable() or each in JOINERS for each in label)
    if legible and 0 < len(label) <= LABEL_LENGTH:
        return ""
    rule = f"printable characters, at most {LABEL_LENGTH}, no spaces around them"
    return f"label {ascii(label)[:80]}: take {rule}"


def _like_each_other(labels: Iterable[str]) -> Iterator[Finding]:
    """The labels that a file system, or a reader, may take for one."""
    groups: dict[str, list[str]] = {}
    for label in sorted(set(labels)):
        key = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold()).rstrip(". ")
        groups.setdefault(key, []).append(label)
    for group in groups.values():
        for label in group:
            if others := [other for other in group if other != label]:
                yield Finding("", label, f"{ALIKE}: {', '.join(others)}", KEPT)


def _reason(error: BaseException) -> str:
    """What the system said, in one line."""
    return printable(getattr(error.__cause__ or error, "strerror", None) or error, longest=120)


def legible(path: str) -> str:
    """A path as a file of text can have it: a byte that is no character, and a control character, as its number."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        each if each.isprintable() or each in JOINERS else each.encode("unicode_escape").decode() for each in text
    )
