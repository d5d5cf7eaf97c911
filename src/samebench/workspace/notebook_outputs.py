"""Strip outputs from notebooks, as a filter of git: one process for all notebooks of a command.

It speaks git's protocol for that (gitattributes(5), "Long Running Filter Process"): packets that begin with their
length in four hexadecimal digits, and "0000" behind the last of a list. It needs Python 3.7 and its standard library
alone: git runs a copy of this file (hook.sh). The result has the same bytes as that of nbstripout with these keys,
which the tests compare.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import IO, Any

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
    keeps_outputs = _keeps_outputs(cell.get("metadata", {}))
    if "outputs" in cell:
        if not keeps_outputs:
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


# ---- git's protocol ----

MOST = 65516  # bytes in a packet, without its length


def serve(read: IO[bytes], write: IO[bytes]) -> None:
    """Answer git until it ends: a notebook that it takes in is cleaned, one that it writes out stays as it is."""
    _packets(read)  # git-filter-client, and its versions
    _send(write, [b"git-filter-server\n", b"version=2\n"])
    _packets(read)
    _send(write, [b"capability=clean\n", b"capability=smudge\n"])
    while True:
        header = _packets(read)
        if not header:
            return
        content = b"".join(_packets(read))
        if b"command=clean\n" in header:
            content = clean(content)
        _send(write, [b"status=success\n"])
        _send(write, (content[start : start + MOST] for start in range(0, len(content), MOST)))
        _send(write, [])  # the status stays


def _packets(read: IO[bytes]) -> list[bytes]:
    """The packets up to the next end of a list; none where git has ended."""
    packets: list[bytes] = []
    while True:
        size = int(read.read(4) or b"0", 16)
        if not size:
            return packets
        packets.append(read.read(size - 4))


def _send(write: IO[bytes], packets: Iterable[bytes]) -> None:
    for packet in packets:
        write.write(b"%04x" % (len(packet) + 4) + packet)
    write.write(b"0000")
    write.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
