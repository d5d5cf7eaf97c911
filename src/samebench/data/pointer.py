"""The pointer of a data set: `data/NAME.dvc`, which says by what name DVC keeps the list of its files.

A pointer of DVC can also name other repositories, addresses and remotes. Here it names one folder of files and nothing
else. DVC never sees a pointer of the checkout: it gets one that is written here.
"""

import re
from dataclasses import dataclass
from typing import Self

from samebench.core.command import UsageError
from samebench.core.text import printable

KEYS = {
    "md5": re.compile(r"[0-9a-f]{32}\.dir"),
    "size": re.compile(r"\d{1,20}"),
    "nfiles": re.compile(r"\d{1,12}"),
    "hash": re.compile("md5"),
    "path": re.compile(".+"),
}
FIELD = re.compile(r"(- |  )(\w+): (\S.*)")
PLAIN = re.compile(r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[^\W\d_][\w.+-]*", re.IGNORECASE)  # text to every YAML


@dataclass(frozen=True)
class Pointer:
    """What a pointer says: the name of the object with the list of the files, their bytes and their number."""

    tree: str
    size: int = 0
    nfiles: int = 0

    @classmethod
    def parse(cls, text: str, *, name: str, where: object) -> Self:
        """The pointer to the set `name`. Raises UsageError, naming the line, for all that DVC may read otherwise."""
        fields: dict[str, str] = {}
        lines = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
        if lines[:1] != ["outs:"]:
            raise _pointer_error(lines[0] if lines else "nothing", name, where)
        for number, line in enumerate(lines[1:]):
            field = FIELD.fullmatch(line)
            if not field or (field[1] == "- ") != (number == 0) or field[2] not in KEYS or field[2] in fields:
                raise _pointer_error(line, name, where)
            fields[field[2]] = _unquote(field[3])
            if not KEYS[field[2]].fullmatch(fields[field[2]]):
                raise _pointer_error(line, name, where)
        if not fields.keys() >= {"md5", "hash", "path"} or fields["path"] != name:
            raise _pointer_error(f"path: {fields.get('path', 'none')}", name, where)
        return cls(fields["md5"], int(fields.get("size", 0)), int(fields.get("nfiles", 0)))

    def text(self, path: str) -> str:
        """The pointer as DVC writes it, to the folder `path` beside it, which is the name of a set."""
        quoted = path if PLAIN.fullmatch(path) else f"'{path}'"
        return (
            f"outs:\n- md5: {self.tree}\n  size: {self.size}\n  nfiles: {self.nfiles}\n  hash: md5\n  path: {quoted}\n"
        )


def _pointer_error(line: str, name: str, where: object) -> UsageError:
    text = printable(repr(line.strip()), longest=80)
    allowed = f"only outs: with md5, size, nfiles, hash: md5 and path: {name} is read"
    return UsageError(f"{where}: {text} is refused: {allowed}; where the data is right: make data-add DATASET={name}")


def _unquote(value: str) -> str:
    quoted = re.fullmatch(r"'([^']*)'|\"([^\"\\]*)\"", value.rstrip())
    return (quoted[1] or quoted[2] or "") if quoted else value.rstrip()
