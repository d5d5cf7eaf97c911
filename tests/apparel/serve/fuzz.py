"""Uploads that nobody would send on purpose, each a function of its seed."""

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
METHODS = ["POST", "POST", "POST", "POST", "PUT", "GET", "DELETE", "post", "P\x00ST"]
PATHS = [
    "/predict",
    "/predict",
    "/predict",
    "/predict?seen",
    "/predict/../predict",
    "//predict",
    "/%00",
    "/predict?" + "a" * 5000,
]


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


def request(seed: int, wholes: list[bytes]) -> bytes:
    """A request as it goes over the wire; its connection is to be closed afterwards."""
    rng = np.random.default_rng(seed)
    content = wholes[rng.integers(0, len(wholes))]
    kind = TYPES[rng.integers(0, len(TYPES))]
    if rng.random() < 0.5:
        content, kind = mutated(content, rng), "image/png"
    if rng.random() < 0.3:
        content, headers = form(*[content] * int(rng.integers(1, 4)), field=["picture", "", "\r\n"][rng.integers(0, 3)])
        content, kind = mutated(content, rng), headers["content-type"]
    length = len(content) if rng.random() < 0.8 else int(rng.integers(0, 2 * len(content) + 2))
    method, path = METHODS[rng.integers(0, len(METHODS))], PATHS[rng.integers(0, len(PATHS))]
    framing = f"content-length: {length}\r\n"
    if rng.random() < 0.2:
        framing = "transfer-encoding: chunked\r\n"
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (int(rng.integers(0, 2 * len(content) + 1)), content)
    head = f"{method} {path} HTTP/1.1\r\nhost: a\r\n{framing}content-type: {kind}\r\nconnection: close\r\n\r\n"
    whole = head.encode("latin-1")
    return (mutated(whole, rng) if rng.random() < 0.1 else whole) + content
