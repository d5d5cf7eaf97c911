"""The parts of a run's folder (weights, artifact, card), held against its receipt before anything is done with them.

Needs neither torch nor onnxruntime: `make flow` looks with it where nothing is installed.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from samebench.core import files, untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.runs import records

WEIGHTS, MODEL, SEAL, CARD = "model.safetensors", "model.onnx", "model.onnx.sha256", "card.md"
SAMPLES = "samples.json"
EVALUATION = "evaluation.json"
CHUNK = 1 << 20
LARGEST_SAMPLES = 32 << 20  # bytes; an export writes at most two thirds of it
LARGEST_HEADER = 16 << 20  # bytes; a hundred tensors take ten thousand

# What torch calls the types of a safetensors file.
TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "BOOL": "bool",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
}
# How a fact stands in the JSON inside a model.onnx, whose characters beyond ASCII are escaped.
FACT = r'"%s": ("(?:[^"\\\x00-\x1f]|\\.){0,1000}")'


def weights_digest(path: Path) -> str:
    """SHA-256 over the names, types, shapes and bytes of the tensors in a safetensors file, as `Model.digest` has it.

    Raises UsageError for a file that is none, OSError for one that can't be read.
    """
    with path.open("rb") as file:
        try:
            return _tensors_digest(file, path.stat().st_size, path)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UsageError(f"{path}: not a whole safetensors file; take another") from error


def _tensors_digest(file: BinaryIO, size: int, path: Path) -> str:
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if length > LARGEST_HEADER or start > size:
        raise ValueError("the header ends behind the file")
    header = untrusted.parse_json(file.read(length), where=path)
    header.pop("__metadata__", None)
    spans = {name: (int(each["data_offsets"][0]), int(each["data_offsets"][1])) for name, each in header.items()}
    if sum(end - begin for begin, end in spans.values()) != size - start or min(map(min, spans.values())) < 0:
        raise ValueError("the tensors are not all that the file has")
    content = hashlib.sha256()
    for name, (first, end) in sorted(spans.items()):
        shape = tuple(int(each) for each in header[name]["shape"])
        content.update(f"{name} torch.{TYPES[header[name]['dtype']]} {shape}\n".encode())
        file.seek(start + first)
        for place in range(first, end, CHUNK):
            content.update(file.read(min(CHUNK, end - place)))
    return content.hexdigest()


def find_weights_problem(directory: Path, receipt: Mapping[str, Any]) -> str:
    """Why the weights in a run's folder are not those that its receipt names; empty where they are.

    Only the receipt of a run that is done names any.
    """
    if receipt.get("state") != "done":
        return ""
    path = directory / WEIGHTS
    try:
        return describe_mismatch(weights_digest(path), receipt) if path.is_file() else f"{WEIGHTS} is gone"
    except (UsageError, OSError):
        return f"{WEIGHTS} is damaged"


def find_uncommitted_problem(directory: Path, receipt: Mapping[str, Any]) -> str:
    """Which patch beside a receipt is not the one that the receipt names; empty where none is.

    Older receipts name none. A patch that is missing is no problem: a receipt can be passed on alone.
    """
    named = {records.UNCOMMITTED: receipt}
    named |= {f"uncommitted-{number}.diff": each for number, each in enumerate(receipt.get("resumed", []), start=1)}
    for name, entry in named.items():
        path = directory / name
        if "uncommitted_sha256" not in entry or not os.path.lexists(path):
            continue
        if path.is_symlink() or not path.is_file() or files.digest(path) != entry["uncommitted_sha256"]:
            return f"{name} is not what its receipt says was not committed"
    return ""


def describe_mismatch(digest: str, receipt: Mapping[str, Any]) -> str:
    """How weights with this digest are not those of the receipt; empty where they are."""
    expected = printable(receipt.get("weights_sha256"), longest=64)
    return "" if digest == expected else f"these weights are {digest[:12]}, its receipt says {expected[:12]}"


def find_artifact_problem(directory: Path, receipt: Mapping[str, Any]) -> str:
    """Why the artifact in a run's folder is not that of its receipt; empty where it is, or where there is none."""
    folder = directory / "artifact"
    try:
        model, seal = untrusted.read_bytes(folder / MODEL, max_bytes=1 << 31), untrusted.read_bytes(folder / SEAL)
    except FileNotFoundError:
        return ""
    except UsageError:
        return f"{MODEL} can't be read"
    digest = hashlib.sha256(model).hexdigest()
    if digest.encode() != seal.split(b" ")[0]:
        return f"{MODEL} is not what its seal says"
    if _fact("weights_sha256", model) != receipt.get("weights_sha256"):
        return f"{MODEL} is of other weights"
    if _fact("data_version", model) != receipt.get("data_version", _fact("data_version", model)):
        return f"{MODEL} tells of other data"
    if _fact("run", model) != receipt.get("run", _fact("run", model)):
        return f"{MODEL} is of another run"
    if digest != receipt.get("artifact_sha256", digest):
        return f"{MODEL} is not the one that was exported"
    return _samples_problem(folder / SAMPLES, _fact("samples_sha256", model)) or _card_problem(folder / CARD, receipt)


def _samples_problem(path: Path, expected: object) -> str:
    if expected is None:
        return f"{MODEL} is of an older export, without {SAMPLES}"
    try:
        content = untrusted.read_bytes(path, max_bytes=LARGEST_SAMPLES)
    except (FileNotFoundError, UsageError):
        return f"{SAMPLES} can't be read"
    return "" if hashlib.sha256(content).hexdigest() == expected else f"{SAMPLES} is of another model"


def _card_problem(path: Path, receipt: Mapping[str, Any]) -> str:
    try:
        lines = untrusted.read_bytes(path).decode(errors="replace").splitlines()
    except (FileNotFoundError, UsageError):
        return f"{CARD} can't be read"
    for fact, what in {"weights_sha256": "weights", "data_version": "data"}.items():
        named = [line for line in lines if line.startswith(f"- {what}: ")]
        if fact in receipt and named != [f"- {what}: {receipt[fact]}"]:
            return f"{CARD} is of other {what}"
    if not lines[0].endswith(f", run {receipt.get('run')}") and "run" in receipt:
        return f"{CARD} is of another run"
    return ""


def _fact(name: str, model: bytes) -> object:
    """A text among the facts inside a model.onnx; None where there is none of that name."""
    match = re.search((FACT % name).encode(), model)
    return json.loads(match[1]) if match else None
