"""The packages of a Debian release: the synopsis of each, as tokens, and its section."""

import lzma
import re

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import fetch
from samebench.data.source import Source
from samebench.tasks.text_classification import text_data
from samebench.tasks.text_classification.text_data import Text, TextData

NAME, SYNTHETIC, FILE = "debian-bookworm", "synthetic", "Packages.xz"
MAX_BYTES = 256 << 20  # of the unpacked index and for unpacking it; bookworm's has 50 MB
FIELD = re.compile(r"^(Package|Source|Section|Description): (.+)$", re.MULTILINE)
NAME_FORM = re.compile(r"[a-z0-9][a-z0-9+.-]{0,100}")  # of a section or a source


def load(name: str) -> TextData:
    """The data set that the setting `data` names. Raises UsageError for a missing or damaged one."""
    if name == SYNTHETIC:
        return text_data.load(name)
    if name == NAME:
        fetch.fetch_dataset(NAME)
    source = Source.of(name)
    path = source.path(FILE)
    return TextData(read_index(source.read(FILE, max_bytes=MAX_BYTES), where=path), where=path)


def read_index(packed: bytes, *, where: object) -> list[Text]:
    """The packages in a Packages.xz. Raises UsageError for anything else."""
    remedy = "take a Packages.xz as Debian publishes it"
    try:
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_BYTES)
        text = unpacker.decompress(packed, MAX_BYTES).decode()
    except (lzma.LZMAError, UnicodeDecodeError) as error:
        raise UsageError(f"{where}: {error}; {remedy}") from error
    if not unpacker.eof:
        raise UsageError(f"{where}: cut off, or more than {MAX_BYTES:,} bytes; {remedy}")
    packages = []
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = dict(FIELD.findall(paragraph))
        if not fields.keys() >= {"Package", "Section", "Description"}:
            continue
        section = fields["Section"].rpartition("/")[2]
        source = fields.get("Source", fields["Package"]).partition(" ")[0]
        for what, name in (("section", section), ("source", source)):
            if not NAME_FORM.fullmatch(name):
                raise UsageError(f"{where}: {printable(repr(name), longest=80)} is no {what}; {remedy}")
        packages.append(Text(fields["Description"], section, source))
    if not packages:
        raise UsageError(f"{where}: no packages; {remedy}")
    return packages
