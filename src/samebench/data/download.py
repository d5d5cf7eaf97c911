"""Fetching files that are known by their SHA-256, over networks that break."""

import gzip
import http.client
import io
import os
import re
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from samebench.core import file_lock, files
from samebench.core.command import RequirementError, UsageError

CHUNK = 1 << 18
MAX_BYTES = 1 << 30  # of a file, where its size is not known
TIMEOUT = 20.0  # seconds without a byte
SLOWEST = 1000  # bytes a second, on average over each `WINDOW`
WINDOW = 60.0  # seconds
RETRY_DELAYS = (0.5, 1.0, 2.0)
# Answers that may be other ones in a second; any other refusal is final.
RETRYABLE = {408, 425, 429, 500, 502, 503, 504}


class UnreachableError(RequirementError):
    """No source answered with the file."""


def fetch(
    path: Path,
    *,
    sha256: str,
    sources: Iterable[str],
    pauses: tuple[float, ...] = RETRY_DELAYS,
    max_bytes: int = MAX_BYTES,
) -> bool:
    """Make sure that `path` holds the bytes with this SHA-256; tell whether anything had to be fetched.

    A cut transfer goes on where it stopped, in this call or the next one. A source that ends in .gz is
    unpacked where `path` does not. Proxies are taken from the environment; `pauses` are the seconds between
    tries. Neither what is sent nor what is unpacked may have more than `max_bytes`. Raises UsageError for wrong bytes,
    which are not kept, and Unreachable where no source answers.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock.exclusive(path.parent):  # two would write into the same part; who comes second finds it done
        return _fetch(path, sha256=sha256, sources=sources, pauses=pauses, max_bytes=max_bytes)


def _fetch(path: Path, *, sha256: str, sources: Iterable[str], pauses: tuple[float, ...], max_bytes: int) -> bool:
    if path.exists():
        check(path, sha256=sha256)
        return False
    reasons: list[Exception] = []
    for source in sources:
        try:
            _fetch_one(path, source, sha256=sha256, pauses=pauses, max_bytes=max_bytes)
        except (UsageError, UnreachableError) as error:
            reasons.append(error)
        else:
            return True
    for reason in reasons:
        if isinstance(reason, UsageError):
            raise reason
    raise UnreachableError("; ".join(str(reason) for reason in reasons))


def check(path: Path, *, sha256: str) -> None:
    """Raise UsageError, naming the file, what was expected and what is there, unless its SHA-256 is this one."""
    if (actual := files.digest(path)) != sha256:
        raise UsageError(f"{path}: expected sha256 {sha256}, got {actual}; delete it, and fetch it again")


def _fetch_one(path: Path, source: str, *, sha256: str, pauses: tuple[float, ...], max_bytes: int) -> None:
    part = path.with_name(path.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _transfer(part, source, pauses=pauses, max_bytes=max_bytes)
    try:
        _verify(part, path, source, sha256=sha256, max_bytes=max_bytes)
    except UsageError:
        if not resumed:
            raise
        # What an earlier call had left may have been of another file: once more, from the first byte.
        _transfer(part, source, pauses=pauses, max_bytes=max_bytes)
        _verify(part, path, source, sha256=sha256, max_bytes=max_bytes)


def _transfer(part: Path, source: str, *, pauses: tuple[float, ...], max_bytes: int) -> None:
    for pause in (*pauses, None):
        try:
            return _request(part, source, max_bytes=max_bytes)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.filename == str(part):
                raise
            final = False
            if isinstance(error, urllib.error.HTTPError):
                final = error.code not in RETRYABLE
                error.close()
            if pause is None or final:
                raise UnreachableError(f"{source}: {_reason(error)}; check the network and the proxy") from error
            time.sleep(pause)
    return None


def _request(part: Path, source: str, *, max_bytes: int) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(source, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    try:
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        part.unlink()
        return _request(part, source, max_bytes=max_bytes)
    with answer:
        continues = answer.status == http.client.PARTIAL_CONTENT and _starts_at(answer, have)
        try:
            _write_body(answer, part, have=have if continues else 0, max_bytes=max_bytes)
        except _TooLargeError as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"{source}: sends more than the {max_bytes:,} bytes allowed; nothing was kept") from error
    return None


def _starts_at(answer: http.client.HTTPResponse, offset: int) -> bool:
    match = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == offset


def _write_body(answer: http.client.HTTPResponse, part: Path, *, have: int, max_bytes: int) -> None:
    expected = answer.headers.get("Content-Length", "")
    total = have + int(expected) if expected.isdecimal() else None
    _check_size(total or 0, max_bytes)
    with (
        _open_part(part, os.O_APPEND if have else os.O_TRUNC) as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None, leave=False) as bar,
    ):
        began, received = time.monotonic(), 0
        while chunk := answer.read1(CHUNK):
            have += len(chunk)
            received += len(chunk)
            _check_size(have, max_bytes)
            _write(file, chunk, part)
            bar.update(len(chunk))
            if time.monotonic() - began > WINDOW:
                if received < SLOWEST * WINDOW:
                    raise TimeoutError(f"only {received:,} bytes in {WINDOW:.0f} seconds")
                began, received = time.monotonic(), 0
    if total is not None and have < total:
        raise http.client.IncompleteRead(b"", total - have)


class _TooLargeError(Exception):
    """More bytes than allowed."""


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise _TooLargeError


def _open_part(path: Path, mode: int) -> io.FileIO:
    """A file to write to, without a buffer, so that no write fails later than it is made; never through a link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | mode
    return open(path, "wb", buffering=0, opener=lambda name, _: os.open(name, flags, 0o666))


def _write(file: io.FileIO, chunk: bytes, path: Path) -> None:
    """All of `chunk`. Raises OSError naming `path`."""
    remaining = memoryview(chunk)
    try:
        while remaining:
            remaining = remaining[file.write(remaining) :]
    except OSError as error:
        error.filename = str(path)
        raise


def _verify(part: Path, path: Path, source: str, *, sha256: str, max_bytes: int) -> None:
    packed = source.endswith(".gz") and path.suffix != ".gz"
    try:
        whole = unpack(part, max_bytes=max_bytes) if packed else part
        actual = files.digest(whole) if whole else "no whole gzip file"
    except _TooLargeError:
        whole, actual = None, f"a gzip file of more than {max_bytes:,} bytes"
    if actual != sha256 or whole is None:
        for leftover in {part, whole} - {None}:
            leftover.unlink()  # type: ignore[union-attr]
        raise UsageError(f"{path}: expected sha256 {sha256}, got {actual} from {source}; nothing was kept")
    files.sync(whole)
    whole.replace(path)
    part.unlink(missing_ok=True)
    files.sync_directory(path.parent)


def unpack(archive: Path, *, max_bytes: int = MAX_BYTES) -> Path | None:
    """Unpack a gzip file as `<name>.unpacked` beside it; None, and nothing written, where it is damaged."""
    target = archive.with_name(archive.name + ".unpacked")
    try:
        with gzip.open(archive) as packed, _open_part(target, os.O_TRUNC) as file:
            while chunk := packed.read(CHUNK):
                _check_size(packed.tell(), max_bytes)
                _write(file, chunk, target)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, gzip.BadGzipFile | EOFError | zlib.error):
            return None
        raise
    return target


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead):
        return f"the connection was cut with {error.expected} bytes to go"
    return str(getattr(error, "reason", error)) or type(error).__name__
