"""Tables of text for a terminal of any width, and for whoever reads them from a pipe."""

import shutil
import sys
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

K = TypeVar("K")

GAP = "  "
LEAST = 28  # columns that a text keeps when the terminal is narrow


def width(text: str) -> int:
    """Columns of a terminal that it takes."""
    return sum(_columns(letter) for letter in text)


def terminal_width() -> int | None:
    """Columns of the terminal that we write to, None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def align(rows: Sequence[Sequence[str]], *, numbers: Collection[int] = ()) -> list[str]:
    """The rows as lines, their cells below each other; those of the columns `numbers`, from 0, end below each other."""
    sizes = {place: max(map(width, column)) for place, column in enumerate(zip(*rows, strict=True))}
    return [_line(dict(enumerate(row)), sizes, numbers) for row in rows]


def render(
    rows: Sequence[Mapping[str, str]],
    *,
    columns: int | None = None,
    numbers: Collection[str] = (),
    truncatable: Sequence[str] = (),
    droppable: Sequence[str] = (),
) -> str:
    """The rows, of which all have the same names, under those names; each `_` in a name begins another line.

    In a terminal of so many columns the `truncatable` texts are cut, the last one first. Where that is not enough, the
    `droppable` columns go, the first one first, and then the lines are cut. None leaves all as it is.
    """
    names = list(rows[0])
    heads = {name: name.split("_") for name in names}
    sizes = {name: max(map(width, [*heads[name], *(row[name] for row in rows)])) for name in names}
    if columns is not None:
        names, sizes = _fit_columns(names, sizes, columns=columns, truncatable=truncatable, droppable=droppable)
    depth = max(len(heads[name]) for name in names)
    lines = [{name: ([""] * depth + heads[name])[-depth:][place] for name in names} for place in range(depth)]
    lines += [{name: row[name] for name in names} for row in rows]
    return "\n".join(_truncate(_line(row, sizes, numbers), columns) for row in lines)


def _fit_columns(
    names: list[str], sizes: dict[str, int], *, columns: int, truncatable: Sequence[str], droppable: Sequence[str]
) -> tuple[list[str], dict[str, int]]:
    sizes, to_drop = dict(sizes), list(droppable)
    whole = dict(sizes)
    while True:
        over = sum(sizes[name] + len(GAP) for name in names) - len(GAP) - columns
        for name in reversed(truncatable):
            excess = max(0, min(over, sizes[name] - LEAST)) if name in names else 0
            sizes[name] -= excess
            over -= excess
        if over <= 0 or not to_drop:
            return names, {name: sizes[name] for name in names}
        names = [name for name in names if name != to_drop[0]]
        sizes = dict(whole)  # what has gone leaves room for the texts
        to_drop = to_drop[1:]


def _line(row: Mapping[K, str], sizes: Mapping[K, int], numbers: Collection[K]) -> str:
    cells = []
    for name, text in row.items():
        cell = _truncate(text, sizes[name])
        blank = " " * (sizes[name] - width(cell))
        cells.append(blank + cell if name in numbers else cell + blank)
    return GAP.join(cells).rstrip()


def _truncate(text: str, columns: int | None) -> str:
    if columns is None or width(text) <= columns:
        return text
    prefix, remaining = "", columns - 1
    for letter in text:
        remaining -= _columns(letter)
        if remaining < 0:
            break
        prefix += letter
    return f"{prefix}…"


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
