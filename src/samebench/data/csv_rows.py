"""The rows of a CSV file, one after the other: memory stays free, whatever their number."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from samebench.core.command import UsageError

REMEDY = "give a CSV in UTF-8 with a line of names"
LONGEST_CELL = 16 << 20  # characters


class CsvRows:
    """Rows as dictionaries by the names of the columns; each iteration reads the file from its start.

    The name of a file that is packed by gzip ends in .gz.
    """

    def __init__(self, path: Path) -> None:
        """Read the line of names, the first that is not empty. Raises UsageError for a damaged file."""
        self.path = path
        self.names: tuple[str, ...] = ()
        self.names = next(self._read(), ())

    def __iter__(self) -> Iterator[dict[str, str]]:
        """Raises UsageError for a damaged file, and for a row with more or fewer cells than there are names."""
        rows = self._read()
        next(rows, None)
        for place, cells in enumerate(rows, start=2):
            if len(cells) != len(self.names):
                raise UsageError(f"{self.path}, row {place}: not {len(self.names)} cells; mend it")
            yield dict(zip(self.names, cells, strict=True))

    def _read(self) -> Iterator[tuple[str, ...]]:
        """The lines that are not empty."""
        csv.field_size_limit(LONGEST_CELL)  # Python's own limit is 131,072
        packed = self.path.suffix == ".gz"
        try:
            with (
                gzip.open(self.path) if packed else self.path.open("rb") as file,
                io.TextIOWrapper(file, "utf-8-sig", newline="") as text,
            ):
                yield from map(tuple, filter(None, csv.reader(text, strict=True)))
        except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UsageError(f"{self.path}: {error}; {REMEDY}") from error
