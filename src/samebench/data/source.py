"""Where the files of a data set lie, and the listing in git that says what they are; without torch."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from samebench import project
from samebench.core import flags, make_command
from samebench.core.command import UsageError
from samebench.core.paths import ROOT
from samebench.data import digests
from samebench.data.listing import is_set_name
from samebench.data.listing import read as read_listing

LISTINGS = ROOT / "data"
CHUNK, MAX_BYTES = 1 << 20, 1 << 30  # of a packed file at a time, and at most


def default_name() -> str:
    """The data set that the project trains on if no other one is named."""
    return str(flags.defaults(project.settings_class())["data"])


def dataset_names() -> list[str]:
    """The data sets that a user can name: those of data/ without those of other projects, and the generated ones."""
    listed = {path.stem for path in LISTINGS.glob("*.sha256")} - project.datasets_of_others()
    return [*sorted(listed), *project.settings_class().generated_data]


def is_generated(name: str) -> bool:
    """Whether the project makes this data set, so that it has no files."""
    return name in project.settings_class().generated_data


@dataclass(frozen=True)
class Source:
    """A data set: its name and the folder of its files."""

    name: str
    folder: Path

    @classmethod
    def of(cls, value: str) -> Self:
        """What the setting `data` means: a name, here or in another commit, or a folder.

        A folder has the default set's files; where the project generates that, any files, which have no version in git.
        A folder that can't be seen from here may lie elsewhere: only its content matters.
        """
        listed = is_generated(value) or (is_set_name(value) and (LISTINGS / f"{value}.sha256").is_file())
        is_folder = os.path.isdir(value)  # noqa: PTH112 - False for every text that can be no path
        if "/" not in value and (listed or not is_folder):
            return cls(value, LISTINGS / value)
        if is_folder and is_generated(default_name()):
            return cls(str(Path(value)), Path(value))
        name = default_name()
        return cls(name, Path(value) if is_folder else LISTINGS / name)

    def has_versions(self) -> bool:
        """Whether its files are in data/, where git has their version."""
        return self.has_listing() and self.folder == LISTINGS / self.name

    def has_listing(self) -> bool:
        """Whether git has, or could have, a version of it; not of a folder that is taken as it is."""
        return self.name != str(self.folder)

    def is_known(self) -> bool:
        """Whether this checkout has such a set, its bytes here or not."""
        by_project = is_generated(self.name) or self.name == default_name()
        if not self.has_listing():
            return self.folder.is_dir()
        return by_project or (is_set_name(self.name) and self.listing.is_file())

    @property
    def listing(self) -> Path:
        """The file in git with the SHA-256 of each of its files; a generated set has none."""
        return LISTINGS / f"{self.name}.sha256"

    def listed(self) -> dict[str, str]:
        """The SHA-256 of each file by its name, relative to the folder."""
        is_listed = self.has_listing() and self.is_known() and self.listing.is_file()
        return read_listing(self.listing) if is_listed else {}

    def path(self, name: str) -> Path:
        """Where one of its files is; `<name>.gz`, as upstream ships it, will do where `<name>` is not there."""
        plain, packed = self.folder / name, self.folder / f"{name}.gz"
        return plain if plain.is_file() or not packed.is_file() else packed

    def matches_sha256(self, name: str, sha256: str) -> bool:
        """Whether one of its files is what the listing says; a packed one by what is in it."""
        path = self.path(name)
        if path.suffix != ".gz" or name.endswith(".gz"):
            return digests.sha256(path) == sha256
        content = hashlib.sha256()
        try:
            with gzip.open(path) as file:
                while (chunk := file.read(CHUNK)) and file.tell() <= MAX_BYTES:
                    content.update(chunk)
            return content.hexdigest() == sha256
        except (OSError, EOFError, zlib.error):
            return False

    def read(self, name: str, *, max_bytes: int) -> bytes:
        """The content of one of its files, unpacked. Raises UsageError unless it is what the listing says.

        A folder without a listing is read as it is.
        """
        expected, path = self._expected(name), self._existing_path(name)
        promise = f"expected sha256 {expected}" if expected else f"expected {max_bytes:,} bytes at most"
        try:
            with gzip.open(path) if path.name != Path(name).name else path.open("rb") as file:
                content = file.read(max_bytes + 1)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UsageError(f"{path}: damaged, {promise}, got no whole gzip file; fetch it again") from error
        actual = hashlib.sha256(content).hexdigest() if len(content) <= max_bytes else f"more than {max_bytes:,} bytes"
        if len(content) > max_bytes or actual != (expected or actual):
            raise UsageError(f"{path}: {promise}, got {actual}; delete it, and fetch it again")
        return content

    def verified_path(self, name: str) -> Path:
        """Where one of its files is, packed or not. Raises UsageError unless it is what the listing says.

        A folder without a listing is taken as it is.
        """
        expected, path = self._expected(name), self._existing_path(name)
        if expected and not self.matches_sha256(name, expected):
            raise UsageError(f"{path}: damaged, expected sha256 {expected}; delete it, and fetch it again")
        return path

    def _existing_path(self, name: str) -> Path:
        if (path := self.path(name)).is_file():
            return path
        raise UsageError(f"{path}: not there; give the directory with all files of {self.name}")

    def _expected(self, name: str) -> str:
        """The SHA-256 of a listed file; empty where nothing is listed. Raises UsageError for any other file."""
        if not self.has_listing():
            return ""
        if not self.listing.is_file():
            remedy = f"make data-add DATASET={self.name}" if self.path(name).is_file() else f"put its {name} there"
            raise UsageError(f"{self.folder}: no version of {self.name} is recorded; {remedy}")
        if sha256 := self.listed().get(name):
            return sha256
        raise UsageError(f"{self.listing}: it lists no {name}; take the listing of a version that has it")

    @classmethod
    def matches(cls, value: str, requested: str) -> bool:
        """Whether a run with the setting `data` = `value` has the `requested` data.

        An empty request is any set that is not generated, and the project's default.
        """
        name = cls.of(value).name
        return name == cls.of(requested).name if requested else name == default_name() or not is_generated(name)

    def matches_checkout(self, receipt: Mapping[str, Any]) -> bool:
        """Whether a run with this receipt was trained on the version in this checkout, as far as it tells."""
        listings = receipt.get("listings")
        then = listings.get(f"data/{self.name}.sha256") if isinstance(listings, dict) else None
        return then is None or (self.is_known() and self.listing.is_file() and digests.sha256(self.listing) == then)

    def make_words(self, *, named: bool = False) -> str:
        """What `make` is told to take it; nothing for the default, unless that has to be `named`."""
        if not self.has_versions():
            return make_command.variable("DATA", self.folder)
        if self.name == default_name() and not named:
            return ""
        return f"DATA={self.name}" if is_generated(self.name) else f"DATASET={self.name}"


def pick_default_run(receipts: Sequence[Mapping[str, Any]]) -> int:
    """The place of the run that is taken where none is named, among `receipts`, those of the newest first.

    Of the runs on the newest one's set it is the first on the version in this checkout, and else the newest.
    """
    sources = [Source.of(str(each.get("settings", {}).get("data"))) for each in receipts]
    for place, (source, receipt) in enumerate(zip(sources, receipts, strict=True)):
        if source.name == sources[0].name and source.matches_checkout(receipt):
            return place
    return 0
