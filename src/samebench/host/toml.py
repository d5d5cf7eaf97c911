"""The tables of ours in pyproject.toml: Python 3.9 has no tomllib, and little of it is needed here.

A value is a string, a list of strings, a whole number, true or false; anything else is refused, with its line.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Union

from samebench.host.errors import UsageError

Value = Union[str, int, bool, "list[str]"]

STRING = r"\"(?:[^\"\\\n]|\\[\"\\])*\"|'[^'\n]*'"
SPACE = r"(?:\s|#[^\n]*\n)*"
LIST = rf"\[{SPACE}(?:(?:{STRING}){SPACE}(?:,{SPACE}(?:{STRING}){SPACE})*,?{SPACE})?\]"
ENTRY = re.compile(
    rf"[ \t]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*({LIST}|{STRING}|true|false|[0-9]+)[ \t]*(?:#[^\n]*)?(?:\n|\Z)"
)
HEADING = re.compile(r"\[\[?([^\[\]]*)\]\]?[ \t]*(?:#[^\n]*)?")


def read(path: Path, table: str) -> dict[str, Value]:
    """What a table of a file says; empty where there is no such file or table. Raises UsageError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: can't be read ({error}); mend it") from error
    values: dict[str, Value] = {}
    inside = False
    position = 0
    while position < len(text):
        end = text.find("\n", position) + 1 or len(text)
        line = text[position:end].strip()
        heading = HEADING.fullmatch(line)
        entry = ENTRY.match(text, position) if inside else None
        if heading:
            inside = heading[1].replace(" ", "") == table and not line.startswith("[[")
        elif entry:
            values[entry[1]] = _value(entry[2])
            end = entry.end()
        elif inside and line and not line.startswith("#"):
            name, _, value = line.partition("=")
            remedy = 'give NAME = "text", a list such as ["text"], a number, true or false'
            raise UsageError(f"{path}, [{table}]: {name.strip()}: {value.strip()} can't be read; {remedy}")
        position = end
    return values


def _value(text: str) -> Value:
    if text[0] == "[":
        return [_string(each) for each in re.findall(STRING, re.sub(rf"({STRING})|#[^\n]*", r"\1", text))]
    if text[0] in "\"'":
        return _string(text)
    return {"true": True, "false": False}.get(text, int(text) if text.isdecimal() else False)


def _string(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text[0] == '"' else text[1:-1]
