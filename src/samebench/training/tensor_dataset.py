"""A data set of tensors: in memory, or on the disk and mapped."""

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from samebench.core import files
from samebench.core.paths import ROOT

T = TypeVar("T")
CHUNK = 8192  # examples that are in memory at a time
LARGE = 64 << 20  # bytes of results


@dataclass(frozen=True)
class TensorDataset:
    """Tensors by name; the first dimension (N, …) of each is the examples."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        """One of the tensors, whole."""
        return self.tensors[name]

    def get_batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The examples at `indices` (M,), or where a mask (N,) is true."""
        return {name: tensor[indices] for name, tensor in self.tensors.items()}

    def to(self, device: torch.device) -> "TensorDataset":
        """The same on a device."""
        return TensorDataset({name: tensor.to(device) for name, tensor in self.tensors.items()})


class TensorSpool:
    """Examples that are appended to files, which are gone when the process ends: memory stays free."""

    def __init__(self) -> None:
        """Begin without an example."""
        self._files: dict[str, IO[bytes]] = {}
        self._forms: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many examples there are."""
        return self._count

    def append(self, examples: Mapping[str, NDArray[Any]]) -> None:
        """Add arrays (M, …) by name; type and shape of each example are those of the first call."""
        for name, rows in examples.items():
            if name not in self._files:
                self._files[name] = file = _scratch_file()
                weakref.finalize(self, file.close)  # what is mapped stays
                self._forms[name] = rows.dtype, rows.shape[1:]
            assert (rows.dtype, rows.shape[1:]) == self._forms[name]
            with _named_error(rows.nbytes):
                self._files[name].write(rows.tobytes())
        self._count += len(rows)

    def to_dataset(self) -> TensorDataset:
        """The examples, which the system reads from the disk as they are used. There is one at least."""
        return TensorDataset({name: self._map(name) for name in self._files})

    def _map(self, name: str) -> Tensor:
        file, (dtype, shape) = self._files[name], self._forms[name]
        with _named_error(self._count * dtype.itemsize * math.prod(shape)):
            file.flush()
        if not math.prod(shape):
            return torch.from_numpy(np.empty((self._count, *shape), dtype))
        mapped = files.map_copy(file.fileno())
        if hasattr(mmap, "MADV_RANDOM"):  # in a random order, what lies behind an example is read in vain
            mapped.madvise(mmap.MADV_RANDOM)
        return torch.from_numpy(np.frombuffer(mapped, dtype).reshape(-1, *shape))


def allocate(example: Tensor, count: int) -> Tensor:
    """A tensor (count, …) for values of the type and shape of `example` (1, …); on the disk if it is large."""
    size = count * example.nbytes
    if size < LARGE:
        return example.new_empty(count, *example.shape[1:])
    with _named_error(size), _scratch_file() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here, and no crash later
        file.truncate(size)
        mapped = mmap.mmap(file.fileno(), size)
    return torch.frombuffer(mapped, dtype=example.dtype).view(count, *example.shape[1:])


def map_batches(places: Sequence[Tensor], compute: Callable[[Tensor], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The values (N, …) by name that `compute` gives for the examples at `places`, which are those from 0 to N - 1.

    `compute` gets one of the `places` (M,), and gives (M, …). A large result is on the disk.
    """
    examples = compute(places[0][:1])
    results = {name: allocate(example, sum(map(len, places))) for name, example in examples.items()}
    for some in places:
        for name, values in compute(some).items():
            results[name][some] = values
    return results


def chunks(count: int) -> Iterator[slice]:
    """Slices of at most CHUNK examples."""
    return (slice(start, start + CHUNK) for start in range(0, count, CHUNK))


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most so many items."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _scratch_file() -> IO[bytes]:
    """A file without a name."""
    return tempfile.TemporaryFile(dir=_scratch_folder())


def _scratch_folder() -> Path:
    """The folder of the checkout's other state, as /tmp is memory in a container."""
    folder = ROOT / ".samebench"
    with suppress(OSError):
        folder.mkdir(exist_ok=True)
    return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())  # a checkout may be read-only


@contextmanager
def _named_error(size: int) -> Iterator[None]:
    """Make an OSError name the folder, and on a full disk the `size` in bytes that is needed."""
    try:
        yield
    except OSError as error:
        files.name_error(error, _scratch_folder(), size=size)
        raise
