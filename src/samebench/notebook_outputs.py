"""Strip outputs from notebooks, as a clean filter of git: a notebook from stdin to stdout.

It needs Python 3.7 and its standard library alone: git runs a copy of this file (src/samebench/hook.sh).
The result has the same bytes as that of nbstripout with these keys, which the tests compare.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# What an editor writes into a notebook and what differs from one reader's machine to the next.
METADATA = ("language_info", "signature", "widgets")
CELL_METADATA = (
    "ExecuteTime",
    "collapsed",
    "execution",
    "heading_collapsed",
    "hidden",
    "scrolled",
)


def clean(content: bytes) -> bytes:
    """The notebook `content` without outputs, as JupyterLab writes it; `content` itself if it is no notebook."""
    try:
        notebook = strip_outputs(json.loads(content))
        text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        return content
    try:
        return (text + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only escape
        return (json.dumps(notebook, indent=1, sort_keys=True) + "\n").encode()


def strip_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """Remove outputs, counts and the machine's metadata from `notebook` in place; the cells keep their ids.

    A cell tagged `keep_output`, or with `init_cell` or `keep_output` in its metadata, keeps its outputs. Raises
    AttributeError, KeyError, TypeError or ValueError where it is no notebook.
    """
    for name in METADATA:
        notebook["metadata"].pop(name, None)
    for cell in _cells(notebook):
        _strip_cell(cell)
    return notebook


def _cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    if notebook.get("nbformat", 4) < 4:
        return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    return list(notebook["cells"])


def _strip_cell(cell: dict[str, Any]) -> None:
    keeps = _keeps_outputs(cell.get("metadata", {}))
    if "outputs" in cell:
        if not keeps:
            cell["outputs"] = [output for output in cell["outputs"] if _size(output) == 0]
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = None
    for count in ("prompt_number", "execution_count"):
        if count in cell:
            cell[count] = None
    for name in CELL_METADATA:
        cell.get("metadata", {}).pop(name, None)


def _keeps_outputs(metadata: dict[str, Any]) -> bool:
    if "init_cell" in metadata:
        return bool(metadata["init_cell"])
    tagged = "keep_output" in metadata.get("tags", [])
    if tagged and not metadata.get("keep_output", True):
        raise ValueError("tagged keep_output, but its metadata say the opposite")
    return tagged or bool(metadata.get("keep_output", False))


def _size(item: object) -> int:
    """The number of characters in `item`."""
    if isinstance(item, dict):
        return sum(_size(value) for value in item.values())
    if isinstance(item, list):
        return sum(_size(each) for each in item)
    return len(str(item))


if __name__ == "__main__":
    sys.stdout.buffer.write(clean(sys.stdin.buffer.read()))
