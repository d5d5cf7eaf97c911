"""Picture files made byte by byte, for the tests of how they are read."""

import struct
import zlib

from PIL import Image, ImageCms

from samebench.tasks.image_classification.image_transform import ImageTransform, TransformedImage
from tests.samebench.pictures import quarters

from .conftest import encoded
from .test_picture import transformed

PLAIN = ImageTransform(28, 3)
COLOURS = quarters((120, 90))


def prepared(content: bytes) -> TransformedImage:
    return transformed(content, PLAIN)


def chunk(kind: bytes, content: bytes, *, checksum: int = 0) -> bytes:
    """A PNG's chunk; `checksum` is added to the right one."""
    right = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", (right + checksum) % 2**32)


def with_chunk(kind: bytes, content: bytes, *, checksum: int = 0, image: Image.Image = COLOURS) -> bytes:
    """A PNG with one more chunk behind its header."""
    png = encoded(image)
    return png[:33] + chunk(kind, content, checksum=checksum) + png[33:]


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def with_segment(marker: int, content: bytes, image: Image.Image = COLOURS) -> bytes:
    jpeg = encoded(image, "JPEG", quality=95)
    return jpeg[:2] + segment(marker, content) + jpeg[2:]


def with_webp_chunk(kind: bytes, content: bytes) -> bytes:
    """A lossless WebP with one more chunk, and the header that says so."""
    webp = encoded(COLOURS, "WEBP", lossless=True)
    flag = {b"EXIF": 8, b"ICCP": 32}[kind]
    width, height = (side - 1 for side in COLOURS.size)
    head = struct.pack("<4sIB3x", b"VP8X", 10, flag) + width.to_bytes(3, "little") + height.to_bytes(3, "little")
    more = kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    body = head + (more + webp[12:] if kind == b"ICCP" else webp[12:] + more)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


GARBAGE = bytes(range(7, 207))
ENDLESS = b"MM\0*\0\0\0\x08\xff\xff" + bytes(24)


def video(jpeg: bytes, size: int = 3_000_000) -> bytes:
    """What a phone puts behind a motion photo: bytes that look like the beginning of scans, too."""
    return jpeg + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * (size // 4)


def display_p3() -> bytes:
    """A profile with the primaries of Display P3 and the curve of sRGB."""
    source = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
    }
    for name, values in primaries.items():
        place = source.index(name)
        offset = int.from_bytes(source[place + 4 : place + 8], "big")
        source[offset + 8 : offset + 20] = struct.pack(">3i", *(round(value * 65536) for value in values))
    return bytes(source)


def bomb(width: int, height: int, colour: int = 2) -> bytes:
    """A PNG that says to have so many pixels."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def resized(jpeg: bytes, width: int, height: int) -> bytes:
    """A JPEG that says to have so many pixels."""
    place = next(jpeg.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in jpeg)
    return jpeg[: place + 5] + struct.pack(">HH", height, width) + jpeg[place + 9 :]


def extended(width: int, height: int) -> bytes:
    """A WebP that says to have so many pixels."""
    webp = bytearray(with_webp_chunk(b"EXIF", b""))
    webp[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(webp)
