"""The curves of a run, in TensorBoard's format, written as they come.

TensorBoard's own writer works in a thread of its own, whose errors (a full disk) reach nobody; ours is a plain file.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class Curves:
    """A file of scalars in `directory`, open while it is entered; those of an earlier process make way for it."""

    def __init__(self, directory: Path) -> None:
        # TensorBoard knows its files by this name.
        self.path = directory / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"

    def __enter__(self) -> Self:
        for earlier in self.path.parent.glob("events.out.tfevents.*"):
            earlier.unlink()
        # Unbuffered, so that a failed write leaves nothing to fail again at the end.
        self._records = RecordWriter(self.path.open("ab", buffering=0))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._records.close()

    def add(self, figures: Mapping[str, float], *, step: int) -> None:
        """Adds a point to each named curve. Raises OSError, with the file's name, where it can't be written."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            self._records.close()
            raise OSError(error.errno, error.strerror, str(self.path)) from error
