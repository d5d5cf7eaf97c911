"""What the file of a picture says before a decoder sees it: format, size, orientation, colour profile, damage.

A camera, a phone or an editor puts more into a file than pixels: text, a thumbnail, a profile, a video behind the end.
`parse` reads the structure itself, and `PictureFile.content` is a file of the same format with the pixels alone. So no
decoder meets the rest, and what is broken in the rest does not make the picture unreadable.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PNG, JPEG, WEBP = "PNG", "JPEG", "WEBP"
PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MAX_PARTS = 100_000  # chunks or segments of a file; 128 MiB in chunks of 8 kB, as libpng writes them, are 16,384
MAX_SCANS = 100  # of a progressive JPEG, which has ten or so; each takes time
MAX_PROFILE = 4 << 20  # bytes of a colour profile; those of printing machines have 2 MB
ORIENTATION = 0x0112  # the EXIF tag

# What a file can have that does not make its pixels wrong.
CUT = "cut end"
CHECKSUM = "wrong checksum"
METADATA = "damaged metadata"
UNTURNED = "unreadable orientation"
PROFILE = "unreadable colour profile"
DAMAGE = (CUT, CHECKSUM, METADATA, UNTURNED, PROFILE)

PICTURES = "no PNG, JPEG or WebP picture"
SAVE = "save it as PNG or JPEG"
HEIC = "export it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible)"
FRAME = "save one of its pictures as PNG or JPEG"
STARTS = (  # how a file begins, what it is, and what to do
    (rb"GIF8", "GIF", SAVE),
    (rb"II\*\0|MM\0\*|II\+\0|MM\0\+", "TIFF", SAVE),
    (rb"BM", "BMP", SAVE),
    (rb"....ftyp(avif|avis)|....ftyp(mif1|msf1).{0,40}avif", "AVIF", SAVE),
    (rb"....ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)", "HEIC", HEIC),
    (rb"....ftypcrx |FUJIFILMCCD-RAW|IIU\0|IIRO|FOVb", "camera raw", "export it as JPEG"),
    (rb"....ftyp|\x1aE\xdf\xa3|RIFF....AVI ", "video", FRAME),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", SAVE),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000", SAVE),
    (rb"8BPS", "Photoshop", SAVE),
    (rb"\0\0[\x01\x02]\0[^\0]", "icon", SAVE),
    (rb"%PDF", "PDF", SAVE),
    (rb"PK\x03\x04", "ZIP", "unpack it"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg", "SVG", SAVE),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype )?html", "web page", "take the picture itself; a page was saved in its place"),
    (rb"version https://git-lfs", "Git LFS pointer", "fetch the picture itself: git lfs pull"),
)
KINDS = tuple((re.compile(start, re.DOTALL), name, remedy) for start, name, remedy in STARTS)

Part = bytes | memoryview


class Unreadable(ValueError):  # noqa: N818 - what the picture is
    """A picture that can't be read; the message says why and what would be."""


class Foreign(Unreadable):
    """Not one of the formats that are read. `name` is what it is instead, empty if that is not known."""

    def __init__(self, name: str = "", remedy: str = "") -> None:
        """Say what it is and what to do."""
        super().__init__(f"{PICTURES} but {name}; {remedy}" if name else f"{PICTURES}; send one of these")
        self.name, self.remedy = name, remedy


def damaged(why: str = "") -> Unreadable:
    """The error for a picture whose pixels can't be had."""
    return Unreadable(f"a damaged picture{': ' if why else ''}{why}; send another")


@dataclass
class PictureFile:
    """A PNG, JPEG or WebP file, its structure read and no pixel decoded."""

    format: str
    width: int
    height: int
    parts: list[Part] = field(default_factory=list, repr=False)
    orientation: int = 1  # as EXIF has it, 1 to 8
    profile: bytes = b""  # ICC
    damage: list[str] = field(default_factory=list)  # some of DAMAGE
    frames: int = 0  # of an animation
    depth: int = 8  # bits of a channel
    colour: int = 0  # PNG's colour type, a JPEG's number of channels
    transparency: bytes = b""  # PNG's tRNS
    frame: tuple[int, int, int, int] | None = None  # left, top, width, height of the pixels, where not the whole
    progressive: bool = False
    scans: int = 0  # of a JPEG
    coefficients: int = 0  # bytes that the decoder of a JPEG in several scans keeps, however small it decodes

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, before it is turned."""
        return self.width, self.height

    @property
    def space(self) -> str:
        """What its colours are, as a colour profile names it."""
        if self.format == WEBP:
            return "RGB"
        grey = {0, 4} if self.format == PNG else {1}
        return "GRAY" if self.colour in grey else "CMYK" if self.format == JPEG and self.colour == 4 else "RGB"

    @property
    def content(self) -> bytes:
        """A file with the pixels alone."""
        return b"".join(self.parts)

    def note(self, damage: str) -> None:
        """Take down what is damaged, once."""
        if damage not in self.damage:
            self.damage.append(damage)

    def take_exif(self, exif: Part) -> None:
        """Take the orientation out of EXIF data."""
        try:
            self.orientation = orientation(bytes(exif[: 1 << 20]))
        except (ValueError, struct.error):
            self.note(UNTURNED)


def parse(content: bytes) -> PictureFile:
    """The structure of a PNG, JPEG or WebP file.

    Raises Foreign for other formats, and Unreadable for a structure that no decoder could follow.
    """
    for magic, read in READERS:
        if re.match(magic, content, re.DOTALL):
            try:
                file = read(memoryview(content))
            except (struct.error, IndexError, zlib.error) as error:
                raise damaged("it ends early") from error
            if not (file.width and file.height):
                raise Foreign
            return file
    raise foreign(content)


def foreign(content: bytes) -> Foreign:
    """The error for a file of another format: it names the format if it is a usual one."""
    head = content[:1024]
    return next((Foreign(name, remedy) for start, name, remedy in KINDS if start.match(head)), Foreign())


def orientation(exif: bytes) -> int:
    """The orientation in EXIF data, 1 where there is none. Raises ValueError or struct.error for broken data."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if not order:
        raise ValueError("no TIFF header")
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, place)
        if tag == ORIENTATION:
            letter = {1: "B", 3: "H", 4: "I"}.get(kind)
            if not letter:
                raise ValueError(f"an orientation of type {kind}")
            (value,) = struct.unpack_from(f"{order}{letter}", tiff, place + 8)
            if value > 8:
                raise ValueError(f"the orientation {value}")
            return int(value) or 1  # 0: unknown, as some scanners write
    return 1


# --- PNG ---

FIXED = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"tIME": 7, b"acTL": 8, b"fcTL": 26}  # bytes of these chunks


def _chunk(kind: bytes, content: Part) -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return b"".join([struct.pack(">I", len(content)), kind, content, struct.pack(">I", checksum)])


def _chunks(data: memoryview, file: PictureFile) -> Iterator[tuple[bytes, memoryview, memoryview, bool]]:
    """Kind, content, whole and whether its checksum is right, of each chunk up to IEND."""
    place = len(PNG_MAGIC)
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


def _png(data: memoryview) -> PictureFile:
    file, animation = PictureFile(PNG, 0, 0, parts=[PNG_MAGIC]), _Animation()
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
        raise Foreign


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
        if len(content) not in sizes:
            file.note(METADATA)
            return
        file.transparency = bytes(content)
        file.parts.append(_chunk(kind, content))
    elif kind == b"eXIf":
        file.take_exif(content)
    elif kind == b"iCCP" and not file.profile:
        try:
            file.profile = _png_profile(content)
        except (ValueError, zlib.error):
            file.note(PROFILE)
    elif kind in {b"acTL", b"fcTL", b"fdAT"}:
        animation.take(kind, content)


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
        kept = [part for part in rest if bytes(part[4:8]) != b"IDAT"]
        head = struct.pack(">II", width, height) + bytes(header[16:21])
        file.parts = [PNG_MAGIC, _chunk(b"IHDR", head), *kept, *(_chunk(b"IDAT", each) for each in self.data)]
        if (width, height) != file.size:
            file.frame = self.place


# --- JPEG ---

MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)  # what begins a segment
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)  # what ends the data of a scan; RSTn is part of it
END_OF_IMAGE, START_OF_SCAN = 0xD9, 0xDA
ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a segment
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
BESIDE = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # applications' own, but those that say what the colours are; comments
EXIF, ICC = b"Exif\0\0", b"ICC_PROFILE\0"
END = b"\xff\xd9"


def _jpeg(data: memoryview) -> PictureFile:
    """Up to the end of the first image: what is behind it, such as a phone's video, is not looked at."""
    file = PictureFile(JPEG, 0, 0, parts=[data[:2]])
    profile: dict[int, tuple[int, memoryview]] = {}
    place = 2
    for _ in range(MAX_PARTS):
        found = MARKER.search(data, place)
        if not found:
            file.note(CUT)
            break
        marker = found[1][0]
        if marker == END_OF_IMAGE:
            break
        if marker in ALONE:
            place = found.end()
            continue
        size = int.from_bytes(data[found.end() : found.end() + 2], "big")
        end = found.end() + size
        content = data[found.end() + 2 : end]
        if size < 2 or len(content) < size - 2:
            raise damaged("it ends early")
        if marker in FRAMES and not file.width:
            _take_frame(marker, content, file)
        if marker == START_OF_SCAN:
            _take_scan(file)
            last = SCAN_END.search(data, end)
            end = last.start() if last else len(data) - (data[-1] == 0xFF)
        if marker in BESIDE:
            _take_application(marker, content, file, profile)
        else:
            file.parts.append(data[found.start() : end])
        place = end
    else:
        raise Unreadable(f"a JPEG of more than {MAX_PARTS:,} segments; save it as an ordinary one")
    if not file.scans or not file.width:
        raise damaged("it has no pixels")
    file.parts.append(END)
    _join_profile(profile, file)
    return file


def _take_frame(marker: int, content: memoryview, file: PictureFile) -> None:
    file.depth, file.height, file.width, channels = struct.unpack_from(">BHHB", content)
    if not (file.width and file.height):
        raise Foreign
    factors = [(content[place] >> 4 or 1, content[place] & 15 or 1) for place in range(7, 6 + 3 * channels, 3)]
    file.colour = channels
    largest = max((across for across, _ in factors), default=1) * max((down for _, down in factors), default=1)
    file.coefficients = 2 * file.width * file.height * sum(across * down for across, down in factors) // largest
    file.progressive = marker & 3 == 2


def _take_scan(file: PictureFile) -> None:
    if not file.width:
        raise damaged("it has no frame")
    file.scans += 1
    if file.scans > MAX_SCANS:
        raise Unreadable(f"a JPEG of more than {MAX_SCANS} scans; save it as an ordinary one")


def _take_application(
    marker: int, content: memoryview, file: PictureFile, profile: dict[int, tuple[int, memoryview]]
) -> None:
    if marker == 0xE1 and content[: len(EXIF)] == EXIF and file.orientation == 1:
        file.take_exif(content)
    elif marker == 0xE2 and content[: len(ICC)] == ICC and len(content) > 14:
        profile.setdefault(content[12], (content[13], content[14:]))


def _join_profile(pieces: dict[int, tuple[int, memoryview]], file: PictureFile) -> None:
    if not pieces:
        return
    numbers, counts = sorted(pieces), {count for count, _ in pieces.values()}
    joined = b"".join(pieces[number][1] for number in numbers)
    if counts != {len(pieces)} or numbers != [*range(1, len(pieces) + 1)] or len(joined) > MAX_PROFILE:
        file.note(PROFILE)
    else:
        file.profile = joined


# --- WebP ---

FLAGS = 0x20 | 0x08 | 0x04  # of VP8X: a profile, EXIF, XMP are there


def _webp(data: memoryview) -> PictureFile:
    file = PictureFile(WEBP, 0, 0)
    stated = int.from_bytes(data[4:8], "little") + 8
    if stated > len(data) + 1:
        raise damaged("it ends early")
    place, body = 12, list[Part]()
    for _ in range(MAX_PARTS):
        if place + 8 > min(stated, len(data)):
            break
        kind = bytes(data[place : place + 4])
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        content = data[place + 8 : place + 8 + size]
        if len(content) < size:
            raise damaged("it ends early")
        if kind == b"EXIF":
            file.take_exif(content)
        elif kind == b"ICCP":
            _take_webp_profile(content, file)
        elif kind in {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}:
            _take_webp_pixels(kind, content, file)
            whole: Part = data[place : place + 8 + size]
            if kind == b"VP8X":
                whole = bytes(whole[:8]) + bytes([content[0] & ~FLAGS]) + bytes(content[1:])
            body += [whole, b"\0"[: size % 2]]
        place += 8 + size + size % 2
    else:
        raise Unreadable(f"a WebP of more than {MAX_PARTS:,} chunks; save it as an ordinary one")
    if not file.width:
        raise damaged("it has no pixels")
    length = 4 + sum(map(len, body))
    file.parts = [b"RIFF", struct.pack("<I", length), b"WEBP", *body]
    return file


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


READERS: tuple[tuple[bytes, Callable[[memoryview], PictureFile]], ...] = (
    (re.escape(PNG_MAGIC), _png),
    (JPEG_MAGIC, _jpeg),
    (rb"RIFF....WEBP", _webp),
)
