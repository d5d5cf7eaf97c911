"""Examples of a file that is larger than memory, by their places in it.

A map of the file would read on behind each example (the system's read-ahead, up to megabytes). In a random order that
is useless: 100,000 images of 224x224 were read seventy times over.
"""

import os
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from samebench.core.command import UsageError


class RecordReader:
    """Records of one size, side by side in a file."""

    def __init__(self, path: Path, *, start: int, record_bytes: int) -> None:
        """Open the file, whose first record begins at `start`."""
        self.path, self.start, self.record_bytes = path, start, record_bytes
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._handle)
        if hasattr(os, "posix_fadvise"):  # macOS has none
            os.posix_fadvise(self._handle, 0, 0, os.POSIX_FADV_RANDOM)

    def read(self, places: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The records (N, record_bytes) at `places` (N,). Raises UsageError if the file has been cut."""
        handle, records = self._handle, np.empty((len(places), self.record_bytes), np.uint8)
        offsets = (self.start + places * self.record_bytes).tolist()
        if hasattr(os, "posix_fadvise"):  # all are on their way before the first one is waited for
            for offset in offsets:
                os.posix_fadvise(handle, offset, self.record_bytes, os.POSIX_FADV_WILLNEED)
        for record, offset in zip(records, offsets, strict=True):
            if os.preadv(handle, [record.data], offset) != self.record_bytes:
                raise UsageError(f"{self.path}: has been cut while it was read; fetch or import it again")
        return records
