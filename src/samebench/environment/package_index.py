"""Reads a package index: which files it has of a package, with hash and size.

Needs the standard library alone. An index answers in JSON (PEP 691, PEP 700) or in HTML (PEP 503).
"""

import base64
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from html import unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from samebench.core.command import RequirementError

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
SECONDS = 60


@dataclass(frozen=True)
class File:
    """A file of a package; `size` in bytes is None where the index does not give it."""

    name: str
    url: str
    sha256: str
    size: int | None = None

    def release(self) -> tuple[str, str]:
        """The normalized name and the version of a wheel; empty texts for other files."""
        parts = self.name.split("-")
        is_wheel = self.name.endswith(".whl") and len(parts) >= 5
        return (normalize(parts[0]), parts[1]) if is_wheel else ("", "")

    def matches(self, python: str, architecture: str) -> bool:
        """Whether this is a wheel for Linux with glibc on this architecture and this version of Python."""
        if not self.release()[0]:
            return False
        pythons, abis, platforms = (set(tags.split(".")) for tags in self.name.removesuffix(".whl").split("-")[-3:])
        exact = "cp" + python.replace(".", "")
        minor = int(python.split(".")[1])
        older = {f"{kind}3{number}" for kind in ("cp", "py") for number in range(minor + 1)}
        fits_python = bool(pythons & {"py3", exact}) or (bool(abis & {"abi3", "none"}) and bool(pythons & older))
        fits_platform = any(
            each == "any" or (each.startswith(("linux", "manylinux")) and each.endswith(architecture))
            for each in platforms
        )
        return fits_python and fits_platform and bool(abis & {"none", "abi3", exact})

    def is_pure(self) -> bool:
        """Whether this is a wheel for every platform."""
        return self.name.endswith("-none-any.whl")


def address() -> str:
    """The Python package index: `UV_DEFAULT_INDEX`, else `PIP_INDEX_URL`, else uv's own."""
    return (os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or default_index()).rstrip("/")


@cache
def default_index() -> str:
    """The index that uv asks where nobody names another. Raises RequirementError where uv does not say."""
    words = ["uv", "--no-config", "pip", "compile", "--quiet", "--no-header", "--emit-index-url", "-"]
    result = subprocess.run(words, input="", capture_output=True, text=True)
    match = re.search(r"^--index-url (\S+)$", result.stdout, re.MULTILINE)
    if not match:
        raise RequirementError("uv names no package index; set UV_DEFAULT_INDEX")
    return match[1]


def files(index: str, package: str) -> list[File]:
    """The files that `index` has of `package`; none if it does not know it.

    Raises RequirementError if it does not answer.
    """
    page = f"{index.rstrip('/')}/{package}/"
    try:
        with urllib.request.urlopen(_request(page), timeout=SECONDS) as answer:  # noqa: S310 - a mirror may be a folder
            text, kind = answer.read().decode(), answer.headers.get_content_type()
    except (OSError, ValueError) as error:
        if isinstance(error, HTTPError) and error.code == 404:
            return []
        raise RequirementError(f"{page} does not answer ({error})") from error
    try:
        return list(_of_json(text, page) if kind.endswith("json") else _of_html(text, page))
    except (ValueError, LookupError, TypeError) as error:
        raise RequirementError(f"{page} is not a page of a package index") from error


def wheelhouse() -> list[File]:
    """The wheels in the folder `WHEELHOUSE`, whose hashes are not computed; none if it is not set."""
    folder = os.environ.get("WHEELHOUSE")
    paths = sorted(Path(folder).glob("*.whl")) if folder else []
    return [File(path.name, str(path.absolute()), "", path.stat().st_size) for path in paths]


def normalize(name: str) -> str:
    """The name of a package as PEP 503 compares it."""
    return re.sub("[-_.]+", "-", name).lower()


def size(file: File) -> int | None:
    """The size of a file in bytes, which is asked of its server if the index does not give it; None if unknown."""
    if file.size is not None:
        return file.size
    try:
        request = _request(file.url, method="HEAD")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310 - as above
            return int(answer.headers["Content-Length"])
    except (OSError, ValueError, TypeError):
        return None


def wheel(files: Iterable[File], hashes: Collection[str], *, python: str, architecture: str = "x86_64") -> File | None:
    """The file with one of these hashes that an installer takes on Linux; None if there is none."""
    fitting = [each for each in files if f"sha256:{each.sha256}" in hashes and each.matches(python, architecture)]
    return min(fitting, key=File.is_pure, default=None)


def _of_json(text: str, page: str) -> Iterable[File]:
    for each in json.loads(text)["files"]:
        yield File(each["filename"], urljoin(page, each["url"]), each["hashes"].get("sha256", ""), each.get("size"))


def _of_html(text: str, page: str) -> Iterable[File]:
    for link in re.findall(r"""<a\s[^>]*?href\s*=\s*["']([^"']*)["']""", text, re.IGNORECASE):
        parts = urlsplit(urljoin(page, unescape(link)))
        sha256 = re.fullmatch("sha256=([0-9a-f]{64})", parts.fragment)
        name = unquote(parts.path.rpartition("/")[2])
        yield File(name, urlunsplit(parts._replace(fragment="")), sha256[1] if sha256 else "")


def _request(url: str, method: str = "GET") -> urllib.request.Request:
    """A request in which user and password of `url` are a header, as urllib does not know them."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    headers = {"Accept": ACCEPT}
    if at:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"
    return urllib.request.Request(urlunsplit(parts._replace(netloc=host)), headers=headers, method=method)  # noqa: S310
