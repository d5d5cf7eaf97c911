"""Files of tensors in which a changed byte shows before anything of them is parsed.

They are plain safetensors files: any tool opens them, and nothing in them can be run. Their metadata begins with the
SHA-256 of the whole file, taken with zeros in its own place.
"""

import hashlib
import io
import json
import math
import mmap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.text import printable

ZEROS = b"0" * 64
PREFIX = b'{"__metadata__":{"samebench":"'
PLACE = slice(8 + len(PREFIX), 8 + len(PREFIX) + len(ZEROS))
CHUNK = 1 << 20
MAX_HEADER = 100_000_000  # bytes; safetensors reads no larger one
DTYPES = {torch.int64: "I64", torch.float32: "F32", torch.uint8: "U8"}
TORCH_DTYPES = {name: dtype for dtype, name in DTYPES.items()}
FOREIGN = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RuntimeError)
NOT_THERE = "{}: not there; take another, or train first"


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], **more: Any) -> None:
    """Write a checked file to `path`, and next to it a JSON file with the metadata and `more`."""
    files.write(path, dumps(kind, tensors, metadata))
    files.write(path.with_suffix(".json"), (json.dumps({**metadata, **more}, indent=2) + "\n").encode())


def dumps(kind: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """The content of a checked file: its kind, its tensors, and metadata that JSON can hold.

    The same tensors and metadata give the same bytes.
    """
    text = json.dumps({"kind": kind, **metadata})
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    content = bytearray(safetensors.torch.save(whole, {"samebench": f"{ZEROS.decode()} {text}"}))
    assert content[8 : PLACE.start] == PREFIX
    content[PLACE] = hashlib.sha256(content).hexdigest().encode()
    return bytes(content)


def stream(
    path: Path,
    kind: str,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    *,
    pieces: Mapping[str, Iterable[bytes]] = MappingProxyType({}),
) -> None:
    """Write the file that `dumps` gives to `path`, piece by piece; the bytes of some tensors come in `pieces`.

    Raises UsageError for metadata that no safetensors file can have, and ValueError for pieces of another length.
    """
    header = _header(json.dumps({"kind": kind, **metadata}), tensors)
    if len(header) > MAX_HEADER:
        what = f"metadata of {len(header):,} bytes, at most {MAX_HEADER:,}"
        raise UsageError(f"{path.name}: {what}; take shorter file names")
    content = hashlib.sha256()
    with path.open("xb") as file:

        def write(piece: bytes) -> int:
            content.update(piece)
            return file.write(piece)

        write(header)
        for name in _order(tensors):
            size = sum(write(each) for each in pieces.get(name) or _pieces(tensors[name]))
            if size != tensors[name].nbytes:
                raise ValueError(f"{name}: {size} bytes, expected {tensors[name].nbytes}")
        file.seek(PLACE.start)
        file.write(content.hexdigest().encode())
    files.sync(path)


def _order(tensors: Mapping[str, Tensor]) -> list[str]:
    """As safetensors has them: those with the largest elements first, so that each is aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _header(text: str, tensors: Mapping[str, Tensor]) -> bytes:
    """The header as safetensors writes it, with zeros in place of the seal."""
    entries: dict[str, Any] = {"__metadata__": {"samebench": f"{ZEROS.decode()} {text}"}}
    place = 0
    for name in _order(tensors):
        tensor = tensors[name]
        offsets = [place, place := place + tensor.nbytes]
        entries[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    header = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header


def _pieces(tensor: Tensor) -> Iterator[bytes]:
    """The bytes of a tensor, of a few examples at a time."""
    for part in torch.split(tensor, max(1, CHUNK * len(tensor) // max(1, tensor.nbytes))):
        yield part.contiguous().numpy().tobytes()


def open_mapped(path: Path, kind: str, *, is_verified: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load`, but the tensors are maps of the file: the system reads of them what is used, and no more is in memory.

    The seal is checked unless `is_verified`. Writing to such a tensor changes the file's copy in memory alone.
    """
    if not path.is_file():
        raise UsageError(NOT_THERE.format(path))
    if not is_verified:
        with path.open("rb") as file:
            _check(file, path)
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > MAX_HEADER:
                raise ValueError("a header of impossible size")
            header, content = file.read(size), files.map_copy(file.fileno())
        metadata, kind_in_file = _parse_header(header)
        with safetensors.safe_open(path, framework="np") as checked:  # its map for torch is refused if it is too large
            names = checked.keys()
        entries = _parse(header)
        tensors = {name: _map_tensor(content, entries[name], 8 + size) for name in names}
    except FOREIGN as error:
        raise UsageError(f"{path}: its hash is right and its content is not ours; take another") from error
    _refuse_kind(path, kind_in_file, kind)
    return tensors, metadata


def _map_tensor(content: mmap.mmap, entry: Mapping[str, Any], start: int) -> Tensor:
    """The tensor of an entry of the header, in a map of the file, whose tensors begin at `start`."""
    dtype, shape = TORCH_DTYPES[entry["dtype"]], entry["shape"]
    if not (count := math.prod(shape)):
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(content, dtype=dtype, count=count, offset=start + entry["data_offsets"][0]).view(shape)


def tensor_offset(path: Path, name: str) -> int:
    """Where in a checked file the bytes of a tensor begin."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = _parse(file.read(min(size, MAX_HEADER)))
    return 8 + size + int(header[name]["data_offsets"][0])


def load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the metadata of a checked file of this kind.

    Raises UsageError for a file that is missing, damaged, not ours or of another kind; of the first three nothing
    is parsed.
    """
    content = _read_checked(path)
    try:
        metadata, kind_in_file = _parse_header(content[8 : 8 + int.from_bytes(content[:8], "little")])
        tensors = safetensors.torch.load(content)
    except FOREIGN as error:
        raise UsageError(f"{path}: its hash is right and its content is not ours; take another") from error
    _refuse_kind(path, kind_in_file, kind)
    return tensors, metadata


def _parse_header(header: bytes) -> tuple[dict[str, Any], str]:
    """The metadata and the kind in a header."""
    metadata = _parse(_parse(header)["__metadata__"]["samebench"][len(ZEROS) :])
    return metadata, metadata.pop("kind")


def _refuse_kind(path: Path, kind: str, expected: str) -> None:
    if kind != expected:
        raise UsageError(f"{path}: a {printable(kind, longest=40)}, expected a {expected}; take another")


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
    if is_checked(path):
        with path.open("rb") as file:
            _check(file, path)


def is_checked(path: Path) -> bool:
    """Whether a file begins as one that `write` wrote, damaged or not."""
    with path.open("rb") as file:
        return file.read(PLACE.start)[8:] == PREFIX


def _read_checked(path: Path) -> bytes:
    if not path.is_file():
        raise UsageError(NOT_THERE.format(path))
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
