"""The listing of a data set: `data/NAME.sha256`, with the SHA-256 and the name of each of its files.

`sha256sum` writes and reads the same form.

Listings come with branches of other people. A name in one never leads out of `data/NAME/`.
"""

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable

MAX_BYTES = 256 << 20  # of a listing: some two million files
SET_NAME = re.compile(r"\w[\w.+-]*")
SET_NAME_BYTES = 200  # leaves room for suffixes of temporary files in NAME_MAX, which is 255
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
CONFLICT = re.compile(r"^(<{7}|>{7}|\|{7}) |^={7}$", re.MULTILINE)  # what git writes where two versions meet


def check_set_name(name: str) -> str:
    """`name`, if it can be the name of a data set and of its folder in data/. Raises UsageError."""
    if not name or name.startswith(".") or "/" in name:
        raise UsageError(f"DATASET={printable(name)}: a path; give the name of a folder of data/ alone")
    if not is_set_name(name):
        name_text = printable(repr(name), longest=80)
        raise UsageError(
            f"DATASET={name_text}: refused; rename the set: letters, digits and _ . + - after the first, "
            f"at most {SET_NAME_BYTES} bytes"
        )
    return name


def is_set_name(name: str) -> bool:
    """Whether `name` can be the name of a data set: of a file and a folder, and a word to every shell."""
    safe = SET_NAME.fullmatch(name) and unicodedata.is_normalized("NFC", name) and not untrusted.path_problem(name)
    return bool(safe) and len(name.encode()) <= SET_NAME_BYTES


def check_file_names(names: Iterable[object], *, where: object) -> None:
    """Raise UsageError unless `names`, which stand in `where`, can all be files of one set on every file system."""
    by_form: dict[str, str] = {}
    folders: dict[str, str] = {}
    for entry in names:
        name = check_file_name(entry, where=where)
        folded = unicodedata.normalize("NFC", name).casefold()
        if other := by_form.get(folded):
            what = (
                "stands there twice"
                if other == name
                else f"differs from {printable(repr(other))} only in its letters' form"
            )
            raise UsageError(
                f"{where}: the file name {printable(repr(name))} {what}; rename or remove one of the files"
            )
        by_form[folded] = name
        for place, letter in enumerate(folded):
            if letter == "/":
                folders.setdefault(folded[:place], name)
    for folded in by_form.keys() & folders.keys():
        both = f"{printable(repr(by_form[folded]))} is a file, and a folder in {printable(repr(folders[folded]))}"
        raise UsageError(f"{where}: {both}; rename one of them")


def check_file_name(name: object, *, where: object) -> str:
    """`name`, if it leads to a file that is not hidden, inside of the folder of its set. Raises UsageError."""
    checked = untrusted.check_relative_path(name, where=where)
    if any(part.startswith(".") for part in checked.split("/")):
        raise UsageError(f"{where}: the file name {printable(repr(name))} is refused: it is hidden; rename the file")
    return checked


def parse(text: str, *, where: object) -> dict[str, str]:
    """The SHA-256 of each file by its name, of a listing that stands in `where`. Raises UsageError where it is none."""
    files: dict[str, str] = {}
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        entry = LINE.fullmatch(line.removesuffix("\r"))
        if not entry:
            what = f"{where}, line {number}: {line[:40]!r} is no SHA-256 and name"
            raise UsageError(f"{what}; take the listing of one version")
        name = check_file_name(entry[2], where=f"{where}, line {number}")
        if name in files:
            raise UsageError(
                f"{where}, line {number}: {printable(repr(name))} stands there twice; take the listing of one version"
            )
        files[name] = entry[1]
    check_file_names(files, where=where)
    return files


def read(path: Path) -> dict[str, str]:
    """The same of the listing at `path`, which is no link."""
    return parse(decode(untrusted.read_bytes(path, max_bytes=MAX_BYTES), where=path), where=path)


def decode(content: bytes, *, where: object) -> str:
    """The text of a listing or a pointer. Raises UsageError where it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where}: not UTF-8 at byte {error.start}; take the file of one version") from error


def entries_in_history(content: bytes) -> set[tuple[str, str]]:
    """Name and SHA-256 of each file in a listing of another revision; a line that is refused counts for nothing."""
    entries = set()
    for line in content.decode(errors="replace").split("\n"):
        entry = LINE.fullmatch(line.removesuffix("\r"))
        if entry and not untrusted.path_problem(entry[2]):
            entries.add((entry[2], entry[1]))
    return entries
