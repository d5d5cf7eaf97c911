"""DVC's configuration as it is written: `['remote "team"']`, then lines of `key = value`, in quotes or not."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

CONFIG, LOCAL = ".dvc/config", ".dvc/config.local"


def parse(text: str) -> dict[str, dict[str, str]]:
    """Its options by section, such as `remote "team"`; keys are in lower case."""
    sections: dict[str, dict[str, str]] = {}
    section = ""
    for line in text.splitlines():
        heading = re.fullmatch(r"\s*\[([^\]#]*)]\s*(?:#.*)?", line)
        if heading:
            section = heading[1].strip("'\" ") + '"' * ('"' in heading[1])
        elif "=" in line and not line.lstrip().startswith("#"):
            key, value = line.split("=", 1)
            sections.setdefault(section, {})[key.strip().lower()] = _unquote(value)
    return sections


def _unquote(value: str) -> str:
    """Without the remark behind it; a `#` between quotes is none."""
    quoted = re.fullmatch(r"""\s*(["'])(.*?)\1\s*(#.*)?""", value)
    return quoted[2] if quoted else value.partition("#")[0].strip()


def sections(name: str) -> dict[str, dict[str, str]]:
    """The options of one of the checkout's files; none where it is not there."""
    try:
        return parse(Path(name).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}


def remote_urls() -> list[str]:
    """Where remotes are, as both files of the checkout say it."""
    return [
        options["url"]
        for name in (CONFIG, LOCAL)
        for section, options in sections(name).items()
        if section.startswith("remote") and options.get("url")
    ]


def folders(data_remote: str) -> Iterator[tuple[str, bool]]:
    """Folders outside of the checkout that hold versions of the data, and whether a command may always write there.

    That is a cache, of this machine's word only, and each remote that is a folder. Each comes once.
    """
    cache = sections(LOCAL).get("cache", {}).get("dir", "")
    places = {cache: True} if cache else {}
    for place in (data_remote, *remote_urls()):
        places.setdefault(place, False)
    for place in sorted(places):
        if place.startswith("/") and os.path.isdir(place):
            yield place, places[place]
