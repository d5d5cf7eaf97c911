"""Files of tensors in which a changed byte shows before anything of them is parsed.

They are plain safetensors files: any tool opens them, and nothing in them can be run. Their metadata begins with the
SHA-256 of the whole file, taken with zeros in its own place.
"""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from samebench.core.command import UsageError
from samebench.core.text import printable

ZEROS = b"0" * 64
PREFIX = b'{"__metadata__":{"samebench":"'
PLACE = slice(8 + len(PREFIX), 8 + len(PREFIX) + len(ZEROS))
CHUNK = 1 << 20


def dumps(kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The content of a sealed file: what kind it is, its tensors, and facts that JSON can tell.

    The same tensors and facts give the same bytes.
    """
    metadata = json.dumps({"kind": kind, **facts})
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = bytearray(safetensors.torch.save(whole, {"samebench": f"{ZEROS.decode()} {metadata}"}))
    assert content[8 : PLACE.start] == PREFIX
    content[PLACE] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the facts of a sealed file of this kind.

    Raises UsageError for a file that is missing, damaged, not ours or of another kind; of the first three nothing
    is parsed.
    """
    content = _read_checked(path)
    try:
        header = _parse(content[8 : 8 + int.from_bytes(content[:8], "little")])
        facts = _parse(header["__metadata__"]["samebench"][len(ZEROS) :])
        kind_in_file = facts.pop("kind")
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UsageError(f"{path}: its hash is right and its content is not ours; take another") from error
    if kind_in_file != kind:
        raise UsageError(f"{path}: a {printable(kind_in_file, longest=40)}, expected a {kind}; take another")
    return tensors, facts


def _parse(text: bytes | str) -> Any:
    """What JSON says. Raises ValueError for a name that an object has twice, of which readers take different ones."""
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name is there twice")
    return result


def verify(path: Path) -> None:
    """Raise UsageError for a file that begins as a sealed one of ours and is damaged; others are not our affair."""
    with path.open("rb") as file:
        is_sealed = file.read(PLACE.start)[8:] == PREFIX
        file.seek(0)
        if is_sealed:
            _check(file, path)


def _read_checked(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(f"{path}: not there; take another, or train first")
    with path.open("rb") as file:
        _check(file, path)  # piece by piece, so that a huge file that is not ours takes no memory
        size = file.tell()
        file.seek(0)
        content = file.read(size)
    _check(io.BytesIO(content), path)  # once more: somebody may have written to it in between
    return content


def _check(file: BinaryIO, path: Path) -> None:
    start = file.read(PLACE.stop)
    if start[8 : PLACE.start] != PREFIX or len(start) < PLACE.stop:
        raise UsageError(f"{path}: damaged, or not a sealed file of ours; nothing in it was read")
    content = hashlib.sha256(start[: PLACE.start] + ZEROS)
    while chunk := file.read(CHUNK):
        content.update(chunk)
    expected, actual = start[PLACE].decode(errors="replace"), content.hexdigest()
    if expected != actual:
        raise UsageError(f"{path}: damaged, expected sha256 {expected}, got {actual}; nothing in it was read")
