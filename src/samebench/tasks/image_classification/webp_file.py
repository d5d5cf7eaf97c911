"""The structure of a WebP, animated or not."""

import struct

from samebench.tasks.image_classification.picture_file import (
    CUT,
    MAX_PARTS,
    MAX_PROFILE,
    PROFILE,
    WEBP,
    Part,
    PictureFile,
    Unreadable,
    damaged,
)

MAGIC = rb"RIFF....WEBP"
PIXELS = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
FLAGS = 0x20 | 0x08 | 0x04  # of VP8X: a profile, EXIF, XMP are there
ANIMATED, CLEAR = 0x02, 0x10  # of VP8X; around a picture that does not fill an animation it is clear, not black


def read(data: memoryview) -> PictureFile:
    """The structure of a WebP. Raises Unreadable for one that no decoder could follow."""
    file = PictureFile(WEBP, 0, 0)
    stated = int.from_bytes(data[4:8], "little") + 8
    place, body = 12, list[Part]()
    for _ in range(MAX_PARTS):
        if place + 8 > min(stated, len(data)):
            break
        kind = bytes(data[place : place + 4])
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        content = data[place + 8 : place + 8 + size]
        if len(content) < size:
            _take_cut(kind, file)
            break
        if kind == b"EXIF":
            file.take_exif(content)
        elif kind == b"ICCP":
            _take_webp_profile(content, file)
        elif kind in PIXELS:
            _take_webp_pixels(kind, content, file)
            whole: Part = data[place : place + 8 + size]
            if kind == b"VP8X":
                flags = content[0] & ~FLAGS | (CLEAR if content[0] & ANIMATED else 0)
                whole = bytes(whole[:8]) + bytes([flags]) + bytes(content[1:])
            body += [whole, b"\0"[: size % 2]]
        place += 8 + size + size % 2
    else:
        raise Unreadable(f"a WebP of more than {MAX_PARTS:,} chunks; save it as an ordinary one")
    if not file.width:
        raise damaged("it has no pixels")
    if stated > len(data) + 1:
        file.note(CUT)
    length = 4 + sum(map(len, body))
    file.parts = [b"RIFF", struct.pack("<I", length), b"WEBP", *body]
    return file


def _take_cut(kind: bytes, file: PictureFile) -> None:
    """The last chunk, which is not whole: an animation has its first picture before it, where that is whole."""
    if kind in PIXELS and not file.frames:
        raise damaged("it ends early")
    file.note(CUT)


def _take_webp_profile(content: memoryview, file: PictureFile) -> None:
    if len(content) > MAX_PROFILE:
        file.note(PROFILE)
    else:
        file.profile = bytes(content)


def _take_webp_pixels(kind: bytes, content: memoryview, file: PictureFile) -> None:
    if kind == b"ANMF":
        file.frames += 1
    if file.width:
        return
    if kind == b"VP8X":
        file.width = 1 + int.from_bytes(content[4:7], "little")
        file.height = 1 + int.from_bytes(content[7:10], "little")
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 6)
        file.width, file.height = width & 0x3FFF, height & 0x3FFF
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 1)
        file.width, file.height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
