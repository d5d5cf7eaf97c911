"""Where a data set lies and whether it is what its listing says; without torch, which `apparel.data` takes."""

import gzip
import hashlib
import shlex
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from samebench import environment, files
from samebench.flow import MISSING, STALE, UP, Step, few

LISTINGS = environment.ROOT / "data"
FASHION, SYNTHETIC = "fashion-mnist", "synthetic"


@dataclass(frozen=True)
class Source:
    """A data set: its name, which has a listing in data/, and the folder of its files."""

    name: str
    folder: Path

    @classmethod
    def of(cls, said: str) -> Self:
        """What the setting `data` means: a name, or a folder with the files of Fashion-MNIST.

        A folder that can't be seen from here may lie elsewhere: only its content matters.
        """
        if said == SYNTHETIC or (LISTINGS / f"{said}.sha256").is_file():
            return cls(said, LISTINGS / said)
        return cls(FASHION, Path(said) if Path(said).is_dir() else LISTINGS / FASHION)

    def words(self) -> str:
        """What `make` is told to take it."""
        if self.name == SYNTHETIC:
            return f" DATA={SYNTHETIC}"
        if self.folder != LISTINGS / self.name:
            return f" DATA={shlex.quote(str(self.folder))}"
        return "" if self.name == FASHION else f" DATASET={self.name}"

    def listed(self) -> dict[str, str]:
        """Its files and the SHA-256 of each."""
        lines = (LISTINGS / f"{self.name}.sha256").read_text().splitlines()
        return {name: sha256 for sha256, name in (line.split(maxsplit=1) for line in lines)}

    def step(self) -> Step:
        """The step: every file by its hash."""
        if self.name == SYNTHETIC:
            return Step("data", UP, "synthetic: made, and not stored")
        listed = self.listed()
        fetch = "make data" + ("" if self.name == FASHION else f" DATASET={self.name}")
        gone = [name for name in listed if not self._path(name).is_file()]
        if gone:
            why = "not there yet" if len(gone) == len(listed) else f"without {few(gone)}"
            return Step("data", MISSING, f"{self.name}: {why}", fetch)
        other = [name for name, sha256 in listed.items() if self._digest(name) != sha256]
        if other:
            return Step("data", STALE, f"{self.name}: changed: {few(other)}", f"rm {self._path(other[0])} && {fetch}")
        return Step("data", UP, f"{self.name}: {len(listed)} file{'s' * (len(listed) > 1)}, by their hashes")

    def version(self) -> str | None:
        """What `apparel.data` calls the version of these files; None where it can't be told without torch."""
        if self.name != FASHION:
            return None
        digests = "".join(self._split(part) for part in ("train", "t10k"))
        return hashlib.sha256(digests.encode()).hexdigest()

    def _split(self, part: str) -> str:
        images = self._content(f"{part}-images-idx3-ubyte")
        count, tall, wide = struct.unpack(">3I", images[4:16])
        content = hashlib.sha256(f"({count}, 1, {tall}, {wide})".encode())
        content.update(memoryview(images)[16:])
        content.update(self._content(f"{part}-labels-idx1-ubyte")[8:])
        return content.hexdigest()

    def _path(self, name: str) -> Path:
        plain, packed = self.folder / name, self.folder / f"{name}.gz"
        return plain if plain.is_file() or not packed.is_file() else packed

    def _content(self, name: str) -> bytes:
        content = (path := self._path(name)).read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content

    def _digest(self, name: str) -> str:
        path = self._path(name)
        return hashlib.sha256(self._content(name)).hexdigest() if path.suffix == ".gz" else files.digest(path)
