"""The structure of a PNG, animated or not."""

import struct
import zlib
from collections.abc import Iterator

from samebench.tasks.image_classification.picture_file import (
    CHECKSUM,
    CUT,
    MAX_PARTS,
    MAX_PROFILE,
    METADATA,
    PNG,
    PROFILE,
    Part,
    PictureFile,
    Unreadable,
    damaged,
)

MAGIC = b"\x89PNG\r\n\x1a\n"
SRGB_GAMMA, SRGB_PRIMARIES = 45_455, (31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000)  # gAMA, cHRM
SRGB_CODES = b"\1\x0d\0\1"  # cICP
SAME = 1_000  # a gAMA or a cHRM that differs by no more from those of sRGB is taken for it
FIXED = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7, b"acTL": 8, b"fcTL": 26}  # bytes of these chunks


def _chunk(kind: bytes, content: Part) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _chunks(data: memoryview, file: PictureFile) -> Iterator[tuple[bytes, memoryview, memoryview, bool]]:
    """Kind, content, whole and whether its checksum is right, of each chunk up to IEND."""
    place = len(MAGIC)
    for _ in range(MAX_PARTS):
        head = bytes(data[place : place + 8])
        if len(head) < 8:
            break
        size, kind = struct.unpack(">I4s", head)
        content = data[place + 8 : place + 8 + size]
        whole = data[place : place + 12 + size]
        if len(whole) < 12 + size:
            if kind == b"IEND":
                break
            yield kind, content, whole, True
            break
        (checksum,) = struct.unpack(">I", whole[-4:])
        yield kind, content, whole, checksum == zlib.crc32(whole[4:-4])
        if kind == b"IEND":
            return
        place += 12 + size
    else:
        raise Unreadable(f"a PNG of more than {MAX_PARTS:,} chunks; save it as an ordinary one")
    file.note(CUT)


def read(data: memoryview) -> PictureFile:
    """The structure of a PNG. Raises Unreadable for one that no decoder could follow."""
    file, animation = PictureFile(PNG, 0, 0, parts=[MAGIC]), _Animation()
    for kind, content, whole, is_sound in _chunks(data, file):
        if not file.width:
            _take_header(kind, content, file, is_sound=is_sound)
            file.parts.append(whole)
        elif kind in {b"IHDR", b"PLTE", b"IDAT", b"IEND"}:
            _take_critical(kind, whole, file, animation, is_sound=is_sound)
        elif not kind[:1].islower():
            raise damaged("it has a chunk that no PNG has")
        elif not is_sound or len(content) != FIXED.get(kind, len(content)):
            file.note(METADATA)
        else:
            _take_ancillary(kind, content, file, animation)
    if not animation.pixels:
        raise damaged("it has no pixels")
    if _has_other_colours(file.colours, file.profile):
        file.note(PROFILE)
    animation.put_into(file)
    if CUT not in file.damage:  # behind half a chunk it would be taken for the other half
        file.parts.append(_chunk(b"IEND", b""))
    return file


def _take_header(kind: bytes, content: memoryview, file: PictureFile, *, is_sound: bool) -> None:
    if kind == b"CgBI":
        raise Unreadable("a PNG for iOS alone (CgBI); save it as an ordinary one")
    if kind != b"IHDR" or not is_sound or len(content) != 13:
        raise damaged("it has no sound header")
    file.width, file.height, file.depth, file.colour = struct.unpack(">IIBB", content[:10])
    if not (file.width and file.height):
        raise damaged("it has no pixels")


def _take_critical(
    kind: bytes, whole: memoryview, file: PictureFile, animation: "_Animation", *, is_sound: bool
) -> None:
    if kind == b"IHDR" or (kind == b"PLTE" and not is_sound):
        raise damaged("two headers" if kind == b"IHDR" else "its palette's checksum is wrong")
    if not is_sound:
        file.note(CHECKSUM)
    animation.pixels = animation.pixels or kind == b"IDAT"
    if kind != b"IEND":
        file.parts.append(whole)


def _take_ancillary(kind: bytes, content: memoryview, file: PictureFile, animation: "_Animation") -> None:
    if kind == b"tRNS" and not animation.pixels and not file.transparency:
        sizes = {0: (2,), 2: (6,), 3: range(1, 257)}.get(file.colour, ())
        if len(content) not in sizes or (file.colour == 3 and not _has_palette(file)):
            file.note(METADATA)
            return
        file.transparency = bytes(content)
        file.parts.append(_chunk(kind, content))
    elif kind == b"eXIf":
        file.take_exif(content)
    elif kind == b"iCCP" and not file.profile and not animation.pixels:
        try:
            file.profile = _png_profile(content)
        except (ValueError, zlib.error):
            file.note(PROFILE)
    elif kind in {b"gAMA", b"cHRM", b"sRGB", b"cICP"} and not animation.pixels:
        file.colours[kind] = bytes(content)
    elif kind in {b"acTL", b"fcTL", b"fdAT"}:
        animation.take(kind, content)


def _has_palette(file: PictureFile) -> bool:
    return any(part[4:8] == b"PLTE" for part in file.parts)


def _has_other_colours(colours: dict[bytes, bytes], profile: bytes) -> bool:
    """Whether chunks that are not read say that the colours are not those of sRGB."""
    if profile or (b"sRGB" in colours and b"cICP" not in colours):
        return False
    if b"cICP" in colours:
        return colours[b"cICP"] != SRGB_CODES
    (gamma,) = struct.unpack(">I", colours.get(b"gAMA", bytes(4)))
    primaries = struct.unpack(">8I", colours.get(b"cHRM", bytes(32)))
    differences = [abs(one - other) for one, other in zip(primaries, SRGB_PRIMARIES, strict=True)]
    return (gamma > 0 and abs(gamma - SRGB_GAMMA) > SAME) or (all(primaries) and max(differences) > SAME)


def _png_profile(content: memoryview) -> bytes:
    _, _, packed = bytes(content).partition(b"\0")
    if packed[:1] != b"\0":
        raise ValueError("not packed as PNG does")
    unpacker = zlib.decompressobj()
    profile = unpacker.decompress(packed[1:], MAX_PROFILE)
    if not unpacker.eof:
        raise ValueError("cut, or too long")
    return profile


class _Animation:
    """The first picture of an animated PNG, where that is another one than the default image, which is never shown."""

    def __init__(self) -> None:
        self.pixels = False  # whether the default image has begun
        self.frames = 0
        self.hidden = False  # whether the default image is no part of the animation
        self.controls = 0
        self.place = (0, 0, 0, 0)  # left, top, width, height
        self.data: list[memoryview] = []

    def take(self, kind: bytes, content: memoryview) -> None:
        if kind == b"acTL" and not self.pixels:
            (self.frames,) = struct.unpack_from(">I", content)
            self.hidden = self.frames > 0
        elif kind == b"fcTL":
            self.controls += 1
            self.hidden = self.hidden and (self.pixels or self.controls > 1)
            if self.controls == 1:
                width, height, left, top = struct.unpack(">IIII", content[4:20])
                self.place = (left, top, width, height)
        elif kind == b"fdAT" and self.controls == 1:
            self.data.append(content[4:])

    def put_into(self, file: PictureFile) -> None:
        """Replace the default image of `file` by the first picture of the animation, if that is another one."""
        file.frames = self.frames
        left, top, width, height = self.place
        inside = width and height and left + width <= file.width and top + height <= file.height
        if not (self.hidden and self.data and inside):
            return
        header, *rest = file.parts[1:]
        other_chunks = [part for part in rest if bytes(part[4:8]) != b"IDAT"]
        head = struct.pack(">II", width, height) + bytes(header[16:21])
        file.parts = [MAGIC, _chunk(b"IHDR", head), *other_chunks, *(_chunk(b"IDAT", each) for each in self.data)]
        if (width, height) != file.size:
            file.frame = self.place
