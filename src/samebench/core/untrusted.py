"""Files and names that other people wrote: checked before anything is done with them.

A receipt, a listing, a pointer, a bundle or a data set can come from a stranger. Every name in such a file passes
through `check_relative_path` or `path_inside`, every JSON document through `read_json`.
"""

import json
import math
import os
import re
import shlex
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from samebench.core.command import UsageError
from samebench.core.text import printable

LONGEST_PART = 255  # bytes of one part of a path: NAME_MAX of every file system in use
LONGEST_PATH = 4096  # bytes of a path: PATH_MAX of Linux
MAX_BYTES = 16 << 20  # of a JSON document; a receipt of ten thousand epochs has a tenth of it
DEEPEST = 32  # lists and objects inside each other in a JSON document; a receipt has six
MOST_DIGITS = 19  # of a whole number: what 64 bits hold
DRIVE = re.compile(r"[A-Za-z]:")


def path_problem(name: str) -> str:
    """Why `name` is not safe as a relative path with forward slashes; empty if it is safe."""
    parts = name.split("/")
    if not name:
        return "it is empty"
    if not name.isprintable():
        return "it has a character that can't be printed"
    if name.startswith("/") or DRIVE.match(name):
        return "it is absolute"
    if any(part in {"", ".", ".."} for part in parts):
        return "it has an empty, '.' or '..' part"
    if "\\" in name:
        return "it has a backslash"
    # A file system that normalises names could take a full-width full stop or solidus for the ASCII one.
    if any(part in {".", ".."} or "/" in part or "\\" in part for part in unicode_forms(parts)):
        return "its compatibility form has a '.', '..' or slash"
    if len(name.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_PART for part in parts):
        return "it is too long"
    return ""


def unicode_forms(parts: list[str]) -> list[str]:
    """The compatibility form (NFKC) of each part of a path."""
    return [unicodedata.normalize("NFKC", part) for part in parts]


def check_relative_path(name: object, *, where: object) -> str:
    """`name`, which stands in `where`, if it stays inside of any folder it is joined to. Raises UsageError."""
    problem = path_problem(name) if isinstance(name, str) else "it is not text"
    if problem:
        raise UsageError(
            f"{where}: the file name {printable(repr(name), longest=80)} is refused: {problem}; "
            "only names inside of its own folder are allowed"
        )
    return str(name)


def path_inside(folder: Path, name: object, *, where: object) -> Path:
    """`folder / name`, if neither the name nor a symbolic link below `folder` leads out of it. Raises UsageError.

    `folder` itself and every existing part of the path below it must not be a symbolic link.
    """
    relative = check_relative_path(name, where=where)
    path = folder
    for part in ("", *relative.split("/")):
        path = path / part
        if path.is_symlink():
            raise _link(path)
    return path


def refuse_links(folder: Path) -> None:
    """Raise UsageError where `folder`, or anything in it at any depth, is a symbolic link."""
    if folder.is_symlink():
        raise _link(folder)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):  # noqa: PTH114, PTH118 - a Path for each file takes its time
                raise _link(Path(place, name))


def _link(path: Path) -> UsageError:
    remedy = f"remove it (rm {printable(shlex.quote(str(path)))}), and put a folder or a file in its place"
    return UsageError(f"{printable(path)}: a symbolic link, which could lead anywhere; {remedy}")


def read_bytes(path: Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a regular file of at most `max_bytes` bytes; no symbolic link, no device is opened.

    Raises UsageError for anything else, FileNotFoundError where nothing is there.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = "a symbolic link" if path.is_symlink() else error.strerror
        raise UsageError(f"{path}: can't be read ({reason}); replace it with a file") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
            raise UsageError(f"{path}: not a file of at most {max_bytes:,} bytes; replace it")
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(content) > max_bytes:
        raise UsageError(f"{path}: not a file of at most {max_bytes:,} bytes; replace it")
    return content


def read_json(path: Path, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The JSON object in a file. Raises UsageError where it is anything else, FileNotFoundError where it is missing."""
    return parse_json(read_bytes(path, max_bytes=max_bytes), where=path)


def parse_json(content: bytes | str, *, where: object) -> dict[str, Any]:
    """The JSON object in `content`, which stands in `where`. Raises UsageError where it is anything else."""
    try:
        document = json.loads(
            content,
            object_pairs_hook=_unique_names,
            parse_int=_parse_int,
            parse_float=_parse_float,
            parse_constant=_refuse_constant,
        )
        json.dumps(document, ensure_ascii=False).encode()  # half of a character has no bytes
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON ({printable(error, longest=120)}); take a whole file") from error
    if _is_deeper(document, DEEPEST):
        raise UsageError(f"{where}: nested more than {DEEPEST} deep; take a whole file")
    if not isinstance(document, dict):
        raise UsageError(f"{where}: not a JSON object; take a whole file")
    return document


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("an object has the same name twice")
    return result


def _parse_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"a whole number of more than {MOST_DIGITS} digits")
    return int(digits)


def _parse_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number beyond what 64 bits hold")
    return number


def _refuse_constant(name: str) -> float:
    """NaN, the loss of a training that has diverged; not Infinity, which no file of ours has."""
    if name != "NaN":
        raise ValueError(f"{name} is no number")
    return math.nan


def _is_deeper(document: object, most: int) -> bool:
    level = [document]
    for _ in range(most):
        level = [child for each in level for child in _children(each)]
    return any(isinstance(each, dict | list) for each in level)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
