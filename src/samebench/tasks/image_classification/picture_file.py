"""What is known of a picture's file before a decoder sees it, and the errors for one that can't be read."""

import struct
from dataclasses import dataclass, field

PNG, JPEG, WEBP = "PNG", "JPEG", "WEBP"
MAX_PARTS = 100_000  # chunks or segments of a file; 128 MiB in chunks of 8 kB, as libpng writes them, are 16,384
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
    colours: dict[bytes, bytes] = field(default_factory=dict)  # PNG's gAMA, cHRM, sRGB and cICP
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
