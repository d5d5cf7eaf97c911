"""The files of a data set in data/: replaced in one step, and read as git names them."""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from samebench.core import file_lock, files, untrusted
from samebench.core.command import UsageError
from samebench.data import digests, source
from samebench.data.listing import is_set_name
from samebench.data.listing import read as read_listing

SCRATCH = ".import"


def write(name: str, contents: Mapping[str, bytes | Path], *, home: Path | None = None) -> None:
    """Put files and their listing into data/, in place of those of that name; a kill leaves the old ones or the new.

    A content that is a path, on the same file system, is moved. All files are put aside first. A rename makes them
    valid, and the next command moves what is left to its place.
    """
    home = home or source.LISTINGS
    listing = "".join(f"{_sha256(content)}  {file}\n" for file, content in contents.items())
    home.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(home):
        _finish(name, home)
        partial = untrusted.path_inside(home, f".{name}.part", where=home)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            for file, content in {**contents, f"{name}.sha256": listing.encode()}.items():
                if isinstance(content, Path):
                    content.replace(partial / file)
                else:
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
        if (actual := digests.sha256(path)) != expected:
            remedy = f"make data DATASET={name}, or import it again"
            raise UsageError(f"{path}: expected sha256 {expected}, got {actual}; {remedy}")
        yield path


@contextmanager
def scratch(name: str, *, home: Path | None = None) -> Iterator[Path]:
    """An empty folder on the file system of data/ for one process that makes the set `name`, and gone afterwards.

    What killed processes have left goes, too. Raises BusyError where another process makes a set of this name.
    """
    home = home or source.LISTINGS
    home.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(home):
        for abandoned in home.glob(f".*{SCRATCH}"):
            if file_lock.is_locked(abandoned) is False:
                shutil.rmtree(abandoned, ignore_errors=True)
        place = untrusted.path_inside(home, f".{name}{SCRATCH}", where=home)
        place.mkdir(exist_ok=True)
        handle, _ = file_lock.acquire(place)
        for path in place.glob("[!.]*"):  # of a killed process, on a file system without locks
            path.unlink()
    try:
        yield place
    except OSError as error:
        error.filename = error.filename or str(place)  # a write that fails names no file
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(handle)


def _sha256(content: bytes | Path) -> str:
    return files.digest(content) if isinstance(content, Path) else hashlib.sha256(content).hexdigest()


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
