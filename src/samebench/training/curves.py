"""The curves and pictures of a run, in TensorBoard's format, written as they come.

TensorBoard's own writer works in a thread of its own, whose errors (a full disk) reach nobody; ours is a plain file.
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
    """A file in `directory`, open while it is entered; those of an earlier process make way for it."""

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

    def repeat(self, history: Sequence[Mapping[str, float]], *, pictured: Callable[[int], bool]) -> None:
        """Adds the epochs that are done, with the pictures of an earlier process where the epoch is `pictured`.

        Those of epochs that come again are gone.
        """
        for step, figures in enumerate(history, start=1):
            self.add(figures, step=step, pictures=self._earlier.get(step, {}) if pictured(step) else {})

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
            self._records.flush()
        except OSError as error:
            self._records.close()
            needed = f", {event.ByteSize():,} bytes needed" if error.errno in files.FULL else ""
            raise OSError(error.errno, f"{error.strerror}{needed}", str(self.path)) from error


class _Whole(io.FileIO):
    """A file without a buffer, so that a failed write leaves nothing to fail again at the end."""

    def write(self, content: Any, /) -> int:
        """All of it: on a disk that fills up the system writes a part and complains only of the next."""
        left = memoryview(content)
        while left:
            left = left[super().write(left) :]
        return len(content)


def read(directory: Path) -> Iterator[tuple[int, dict[str, float], dict[str, bytes]]]:
    """What a run has written so far, epoch by epoch: step, figures and PNGs by name.

    A file that is cut off, or damaged, ends where it is no longer whole.
    """
    for path in sorted(path for path in directory.glob(NAMES) if path.is_file() and not path.is_symlink()):
        for event in LegacyEventFileLoader(str(path)).Load():
            values = event.summary.value
            if values:
                figures = {each.tag: each.simple_value for each in values if each.HasField("simple_value")}
                pngs = ((each.tag, each.image.encoded_image_string) for each in values if each.HasField("image"))
                images = {name: content for name, content in pngs if _is_png(content)}
                yield event.step, figures, images


def _is_png(content: bytes) -> bool:
    """Whether it begins as a PNG does, with a width and a height that a PNG can have."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n") or len(content) < 24:
        return False
    return all(0 < side < 1 << 31 for side in struct.unpack(">II", content[16:24]))


def _image(png: bytes) -> Summary.Image:
    width, height = struct.unpack(">II", png[16:24])
    return Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=png)
