"""Where a data set was published: `data/NAME.urls`, a line for each place, beside the listing `data/NAME.sha256`.

In a line `{name}` is the name of a file and `{sha256}` its hash. A line that begins with `#` is a comment.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from samebench.core import untrusted
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import download, versions

MAX_BYTES = 1 << 16
SCHEMES = ("https://", "http://")


def fetcher(name: str, *, root: Path) -> Callable[[Path, Mapping[str, str]], None] | None:
    """What fetches files of the set `name` from its addresses; None if it has none."""
    addresses = read(name, root=root)
    return partial(fetch, addresses) if addresses else None


def read(name: str, *, root: Path) -> list[str]:
    """The lines of the set `name`; empty if it has none. Raises UsageError for a line that is no address."""
    where = versions.path_of(name, "urls")
    try:
        content = untrusted.read_bytes(untrusted.path_inside(root, where, where=where), max_bytes=MAX_BYTES)
    except FileNotFoundError:
        return []
    lines = content.decode(errors="replace").splitlines()
    addresses = [line for line in lines if line.strip() and not line.startswith("#")]
    for line in addresses:
        if not line.startswith(SCHEMES) or not line.isascii() or not line.isprintable() or " " in line:
            raise UsageError(
                f"{where}: {printable(repr(line), longest=80)} is no address; give one that begins https://"
            )
    return addresses


def fetch(addresses: Sequence[str], folder: Path, missing: Mapping[str, str]) -> None:
    """Fetch these files (name, SHA-256) into `folder`, each from the first address that has it.

    Raises UsageError for wrong bytes, which are not saved, and UnreachableError if no address has a file.
    """
    for name, sha256 in missing.items():
        sources = [each.replace("{name}", quote(name)).replace("{sha256}", sha256) for each in addresses]
        download.fetch(folder / name, sha256=sha256, sources=sources)
