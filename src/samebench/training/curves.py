"""The curves and pictures of a run, in TensorBoard's format.

TensorBoard's writer has a thread, whose errors, such as a full disk, are lost. This one writes in the calling thread.
"""

import io
import os
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from samebench.core import files

NAMES = "events.out.tfevents.*"  # TensorBoard knows its files by them


class Curves:
    """A context manager that writes a file in `directory`, which replaces those of an earlier process."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAMES.replace("*", f"{int(time.time())}.{os.getpid()}")

    def __enter__(self) -> Self:
        self._earlier = {step: content for step, _, content in read(self.path.parent) if content}
        for earlier in self.path.parent.glob(NAMES):
            earlier.unlink()
        self._records = RecordWriter(_Whole(self.path, "ab"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._records.close()

    def add(
        self, figures: Mapping[str, float], *, step: int, pictures: Mapping[str, bytes] = MappingProxyType({})
    ) -> None:
        """Adds a point to each named curve, and a PNG to each named row of pictures.

        Raises OSError, with the file's name, where it can't be written.
        """
        values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
        values += [Summary.Value(tag=name, image=_image(content)) for name, content in pictures.items()]
        self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))

    def repeat(self, history: Sequence[Mapping[str, float]], *, has_pictures: Callable[[int], bool]) -> None:
        """Adds the epochs of `history`, with the pictures of an earlier process for those that have some.

        Later epochs of the earlier process are dropped: they are trained again.
        """
        for step, figures in enumerate(history, start=1):
            self.add(figures, step=step, pictures=self._earlier.get(step, {}) if has_pictures(step) else {})

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            self._records.close()
            needed = f", {event.ByteSize():,} bytes needed" if error.errno in files.FULL else ""
            raise OSError(error.errno, f"{error.strerror}{needed}", str(self.path)) from error


class _Whole(io.FileIO):
    """A file without a buffer: after a failed write nothing is left that would fail again on close."""

    def write(self, content: Any, /) -> int:
        """Write all of it: on a full disk the system writes a part, and only the next write fails."""
        remaining = memoryview(content)
        while remaining:
            remaining = remaining[super().write(remaining) :]
        return len(content)


def read(directory: Path) -> Iterator[tuple[int, dict[str, float], dict[str, bytes]]]:
    """The step, figures and PNGs by name of each epoch that a run has written.

    A damaged file ends before its first damaged record.
    """
    for path in sorted(path for path in directory.glob(NAMES) if path.is_file() and not path.is_symlink()):
        for event in LegacyEventFileLoader(str(path)).Load():
            values = event.summary.value
            if values:
                figures = {value.tag: value.simple_value for value in values if value.HasField("simple_value")}
                pngs = ((value.tag, value.image.encoded_image_string) for value in values if value.HasField("image"))
                images = {name: content for name, content in pngs if _is_png(content)}
                yield event.step, figures, images


def _is_png(content: bytes) -> bool:
    """Whether it has the signature of a PNG, and a width and height that a PNG can have."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return False
    return all(0 < side < 1 << 31 for side in struct.unpack(">II", content[16:24]))


def _image(png: bytes) -> Summary.Image:
    width, height = struct.unpack(">II", png[16:24])
    return Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
