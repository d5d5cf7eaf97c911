"""Uploads that nobody would send on purpose, each a function of its seed."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from .conftest import encoded, form

TYPES = [
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/",
    "text/html",
    "application/json",
    "multipart/form-data",
    "",
    "\xff",
]
TYPES += ["multipart/form-data; boundary=", "multipart/form-data; boundary=limit", "application/x-www-form-urlencoded"]
METHODS = ["PUT", "GET", "DELETE", "post", "P\x00ST"]
CHUNKED = "transfer-encoding: chunked\r\n"
PATHS = ["/predict/../predict", "//predict", "/%00", "/", "/health", "/predict?" + "a" * 5000]


def pictures() -> list[bytes]:
    """Whole files of each format and of odd kinds."""
    rng = np.random.default_rng(0)
    grey = Image.fromarray(rng.integers(0, 256, (40, 50), dtype=np.uint8))
    made = [encoded(grey.convert(mode)) for mode in ("L", "RGB", "RGBA", "LA", "P", "1")]
    made += [encoded(grey.convert(mode), "JPEG") for mode in ("L", "RGB", "CMYK")]
    made += [encoded(grey.convert("RGB"), "WEBP"), encoded(grey, "JPEG", progressive=True), encoded(grey, "GIF")]
    made += [encoded(Image.new("1", (12_000, 12_000))), encoded(Image.new("1", (4096, 4096)))]
    return [*made, b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\x00\x00\x00\x00WEBP", b"\xff\xd8\xff"]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut out, put in or cut off."""
    changed = bytearray(content)
    for _ in range(rng.integers(0, 12)):
        place = int(rng.integers(0, len(changed) + 1))
        way = rng.integers(0, 4)
        if way == 0 and place < len(changed):
            changed[place] = rng.integers(0, 256)
        elif way == 1:
            del changed[place : place + int(rng.integers(0, 40))]
        elif way == 2:
            changed[place:place] = rng.bytes(int(rng.integers(0, 40)))
        elif way == 3 and rng.random() < 0.1:
            del changed[place:]
    return bytes(changed)


@dataclass(frozen=True)
class Upload:
    """A request as it goes over the wire; the connection is to be closed after its answer."""

    raw: bytes
    whole: bool  # all that its head promises is there; where not, only an end of the connection tells the server


def upload(seed: int, wholes: list[bytes]) -> Upload:
    """Four of five ask POST /predict, and most of these are framed as they should be."""
    rng = np.random.default_rng(seed)
    content, kind = body(rng, wholes)
    method, path = "POST", "/predict?seen" if rng.random() < 0.2 else "/predict"
    if rng.random() < 0.2:
        method, path = str(rng.choice([*METHODS, "POST"])), str(rng.choice([*PATHS, path]))
    framing, content, whole = framed(content, rng) if rng.random() < 0.3 else (of_length(len(content)), content, True)
    head = f"{method} {path} HTTP/1.1\r\nhost: a\r\n{framing}content-type: {kind}\r\nconnection: close\r\n\r\n"
    raw = head.encode("latin-1")
    if rng.random() < 0.05:
        return Upload(mutated(raw, rng) + content, whole=False)
    return Upload(raw + content, whole)


def body(rng: np.random.Generator, wholes: list[bytes]) -> tuple[bytes, str]:
    """A picture or a form, whole or mutated, and what it is said to be."""
    content = wholes[rng.integers(0, len(wholes))]
    kind = TYPES[rng.integers(0, len(TYPES))] if rng.random() < 0.3 else "image/png"
    if rng.random() < 0.5:
        content = mutated(content, rng)
    if rng.random() < 0.3:
        content, headers = form(*[content] * int(rng.integers(1, 4)), field=["picture", "", "\r\n"][rng.integers(0, 3)])
        content, kind = mutated(content, rng), headers["content-type"]
    return content, kind


def of_length(size: int) -> str:
    return f"content-length: {size}\r\n"


def framed(content: bytes, rng: np.random.Generator) -> tuple[str, bytes, bool]:
    """Header, body and whether it is whole: chunked, or with a length or a chunk that is not the true one."""
    size = int(rng.integers(0, 2 * len(content) + 2))
    if rng.random() < 0.5:
        return of_length(size), content, size <= len(content)
    if rng.random() < 0.5:
        return CHUNKED, b"%x\r\n%s\r\n0\r\n\r\n" % (size, content), False
    pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return CHUNKED, chunked, True
