"""The samples of an artifact: examples, and what the model answered on them when it was exported.

A server asks its model about them again and again. `samples.json` may be a stranger's.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
MAX_BYTES = 16 << 20  # of the arrays of all samples; a third more in samples.json
MAX_FILE_BYTES = 32 << 20
DTYPES = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
DTYPES |= {"float16", "float32", "float64"}


@dataclass(frozen=True)
class Sample:
    """An example with its answer. The arrays have no batch dimension."""

    title: str
    inputs: Arrays
    outputs: Arrays

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in (*self.inputs.values(), *self.outputs.values()))


def spread(count: int, turn: int, most: int) -> list[int]:
    """At most `most` of the numbers 0 to `count` - 1, evenly apart; each number comes in one of the next turns."""
    step = -(-count // most)
    return list(range(turn % step, count, step)) if count else []


def dump_samples(samples: Sequence[Sample]) -> bytes:
    """The content of samples.json. Of samples that are too large together it has some, evenly apart."""
    most = max(1, MAX_BYTES // max([1, *(sample.nbytes for sample in samples)]))
    entries = [_to_dict(samples[place]) for place in spread(len(samples), 0, most)]
    return f"{json.dumps({'samples': entries}, indent=1)}\n".encode()


def read_sample(entry: Mapping[str, Any]) -> Sample:
    """A sample of samples.json. Raises LookupError, TypeError or ValueError for an impossible one."""
    inputs, outputs = ({name: _read_array(entry[part][name]) for name in entry[part]} for part in ("inputs", "outputs"))
    return Sample(entry["title"], inputs, outputs)


def _to_dict(sample: Sample) -> dict[str, Any]:
    inputs, outputs = (
        {name: _dump_array(array) for name, array in part.items()} for part in (sample.inputs, sample.outputs)
    )
    return {"title": sample.title, "inputs": inputs, "outputs": outputs}


def _dump_array(array: NDArray[Any]) -> dict[str, Any]:
    encoded = base64.b64encode(array.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "base64": encoded}


def _read_array(entry: Mapping[str, Any]) -> NDArray[Any]:
    content, dtype, shape = base64.b64decode(entry["base64"], validate=True), entry["dtype"], entry["shape"]
    if dtype not in DTYPES or not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError(f"an array of {dtype} {shape}")
    if math.prod(shape) * np.dtype(dtype).itemsize != len(content):
        raise ValueError(f"{len(content)} bytes of {dtype} {shape}")
    return np.frombuffer(content, dtype).reshape(shape)
