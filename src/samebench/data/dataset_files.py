"""The files of a data set in data/: replaced in one step, and read as git names them."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from samebench.core import file_lock, files, untrusted
from samebench.core.command import UsageError
from samebench.data import source
from samebench.data.listing import is_set_name
from samebench.data.listing import read as read_listing


def write(name: str, contents: Mapping[str, bytes], *, home: Path | None = None) -> None:
    """Put files and their listing into data/, in place of those of that name; a kill leaves the old ones or the new.

    All files are put aside first. A rename makes them valid, and the next command moves what is left to its place.
    """
    home = home or source.LISTINGS
    listing = "".join(f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in contents.items())
    home.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(home):
        _finish(name, home)
        partial = untrusted.path_inside(home, f".{name}.part", where=home)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for file, content in {**contents, f"{name}.sha256": listing.encode()}.items():
                files.write(partial / file, content)
            partial.rename(_valid(name, home))
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        files.sync_directory(home)
        _finish(name, home)


def finish(name: str, *, home: Path | None = None) -> None:
    """Move to its place what a `write` that was killed has left valid."""
    home = home or source.LISTINGS
    if is_set_name(name) and _valid(name, home).is_dir():
        with file_lock.exclusive(home):
            _finish(name, home)


@contextmanager
def verified(name: str, file: str, *, home: Path | None = None) -> Iterator[Path]:
    """The path of one file; nobody replaces it meanwhile.

    Raises UsageError where it is not there, or not the one whose SHA-256 is in git.
    """
    home = home or source.LISTINGS
    path = home / name / file
    with file_lock.exclusive(home):
        _finish(name, home)
        if not path.is_file():
            raise UsageError(f"{path}: not there; fetch it: make data DATASET={name}, or import it again")
        expected = read_listing(home / f"{name}.sha256").get(file)
        if (actual := files.digest(path)) != expected:
            remedy = f"make data DATASET={name}, or import it again"
            raise UsageError(f"{path}: expected sha256 {expected}, got {actual}; {remedy}")
        yield path


def _finish(name: str, home: Path) -> None:
    """Put what is valid into its place, where it has not come to it."""
    valid = _valid(name, home)
    for folder in (home / name, valid):
        untrusted.refuse_links(folder)
    if not valid.is_dir():
        return
    (home / name).mkdir(exist_ok=True)
    for path in list(valid.iterdir()):
        path.replace(home / path.name if path.suffix == ".sha256" else home / name / path.name)
    files.sync_directory(home / name)
    files.sync_directory(home)
    valid.rmdir()


def _valid(name: str, home: Path) -> Path:
    return home / f".{name}.new"
