"""Files as cameras, phones and editors make them: what is sound is read, what is damaged is said, the rest is named."""

import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from samebench.serving.application import Application
from samebench.serving.artifact import Artifact
from samebench.serving.upload import Content
from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.image_transform import NOTHING, OUTSIDE, ImageTransform, TransformedImage
from samebench.tasks.image_classification.picture_file import (
    CHECKSUM,
    CUT,
    METADATA,
    PROFILE,
    UNTURNED,
    Foreign,
    Unreadable,
    orientation,
)
from samebench.tasks.image_classification.serving import is_outside
from tests.samebench.pictures import boot, quarters

from .conftest import Server, change_spec, encoded
from .test_picture import preparation, transformed

__all__ = ["preparation"]  # a fixture

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
TEXT = PngInfo()
for _ in range(3):
    TEXT.add_text("a", "b" * 900_000, zip=True)
WRONG_TYPE = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 2, 1, 6) + bytes(4)
NO_SUCH_SIDE = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 77, 0) + bytes(4)
ENDLESS = b"MM\0*\0\0\0\x08\xff\xff" + bytes(24)


@pytest.mark.parametrize("exif", [GARBAGE, b"", b"II*\0", WRONG_TYPE, NO_SUCH_SIDE, ENDLESS], ids=range(6))
def test_broken_exif_leaves_the_picture_as_it_is_with_a_warning(exif: bytes) -> None:
    upright = prepared(encoded(COLOURS)).pixels
    for content in (with_chunk(b"eXIf", exif), with_webp_chunk(b"EXIF", exif)):
        got = prepared(content)
        assert np.array_equal(got.pixels, upright)
        assert got.damage == (UNTURNED,)
    got = prepared(with_segment(0xE1, b"Exif\0\xff" + exif))
    assert got.damage == (UNTURNED,)
    got = prepared(with_segment(0xE1, b"Exif\0\0" + exif))
    assert got.damage == (UNTURNED,)
    assert np.array_equal(got.pixels, prepared(with_segment(0xFE, b"")).pixels)


def test_an_orientation_of_any_byte_order_and_size_is_read_and_zero_means_upright() -> None:
    for order, magic in (("<", b"II*\0"), (">", b"MM\0*")):
        for kind, letter in ((1, "B3x"), (3, "H2x"), (4, "I")):
            exif = magic + struct.pack(f"{order}IHHHI{letter}", 8, 1, 0x0112, kind, 1, 6)
            assert orientation(exif) == orientation(b"Exif\0\0" + exif) == 6
        assert orientation(magic + struct.pack(f"{order}IHHHIH2x", 8, 1, 0x0112, 3, 1, 0)) == 1


@pytest.mark.parametrize(
    ("content", "damage"),
    [
        (with_chunk(b"iCCP", b"a\0\1" + zlib.compress(GARBAGE)), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + zlib.compress(GARBAGE)), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + GARBAGE), (PROFILE,)),
        (with_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000))), (PROFILE,)),
        (with_chunk(b"tEXt", b"a\0b", checksum=1), (METADATA,)),
        (with_chunk(b"tRNS", b"\0\0\0\0\0\0", checksum=1), (METADATA,)),
        (with_chunk(b"iCCP", GARBAGE, checksum=1), (METADATA,)),
        (with_chunk(b"gAMA", b"\0"), (METADATA,)),
        (with_chunk(b"pHYs", b""), (METADATA,)),
        (with_chunk(b"zzZz", GARBAGE), ()),
        (with_chunk(b"zTXt", GARBAGE), ()),
        (encoded(COLOURS, pnginfo=TEXT), ()),
        (encoded(COLOURS) + GARBAGE * 1000, ()),
        (encoded(COLOURS)[:-12], (CUT,)),
        (encoded(COLOURS)[:-13] + b"?" + encoded(COLOURS)[-12:], (CHECKSUM,)),
        (with_webp_chunk(b"ICCP", GARBAGE), (PROFILE,)),
        (encoded(COLOURS, "WEBP", lossless=True) + GARBAGE, ()),
    ],
)
def test_what_is_broken_beside_the_pixels_leaves_them_as_they_are(content: bytes, damage: tuple[str, ...]) -> None:
    got = prepared(content)
    assert np.array_equal(got.pixels, prepared(encoded(COLOURS)).pixels)
    assert got.damage == damage


def frame_of(jpeg: bytes, marker: int, depth: int = 8) -> bytes:
    """A JPEG whose frame is said to be of another kind."""
    place = jpeg.index(b"\xff\xc0")
    return jpeg[: place + 1] + bytes([marker]) + jpeg[place + 2 : place + 4] + bytes([depth]) + jpeg[place + 5 :]


@pytest.mark.parametrize(
    ("marker", "depth", "kind"),
    [(0xC1, 12, "12 bits"), (0xC3, 8, "lossless"), (0xC5, 8, "hierarchical"), (0xF7, 8, "JPEG-LS")],
)
def test_a_jpeg_that_no_browser_shows_is_not_called_damaged(marker: int, depth: int, kind: str) -> None:
    jpeg = encoded(COLOURS, "JPEG")
    assert np.array_equal(prepared(frame_of(jpeg, 0xC1)).pixels, prepared(jpeg).pixels)
    with pytest.raises(Unreadable, match=rf"^a JPEG that browsers do not show \({kind}\); save it as an ordinary one$"):
        prepared(frame_of(jpeg, marker, depth))


def test_a_picture_that_says_to_have_no_pixels_is_a_damaged_one() -> None:
    for content in (bomb(0, 60), resized(encoded(COLOURS, "JPEG"), 120, 0)):
        with pytest.raises(Unreadable, match=r"^a damaged picture: it has no pixels"):
            prepared(content)


@pytest.mark.parametrize(
    "broken",
    [
        segment(0xE0, b"JFIF\0"),
        segment(0xE0, b""),
        segment(0xEE, b"Adobe\0"),
        b"\xff\xfe\0\1",
        b"\xff\xe1\0\0",
        b"\xff" * 9,
    ],
    ids=["half a JFIF", "no JFIF", "half an Adobe", "a length of 1", "a length of 0", "filled up"],
)
def test_a_broken_segment_beside_the_pixels_leaves_them_as_they_are(broken: bytes) -> None:
    jpeg = encoded(COLOURS, "JPEG")
    plain = jpeg[:2] + jpeg[20:]  # without its own JFIF
    assert np.array_equal(prepared(plain[:2] + broken + plain[2:]).pixels, prepared(plain).pixels)


def video(jpeg: bytes, size: int = 3_000_000) -> bytes:
    """What a phone puts behind a motion photo: bytes that look like the beginning of scans, too."""
    return jpeg + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x0c" * (size // 4)


def test_a_jpeg_is_read_up_to_the_end_of_its_first_image() -> None:
    jpeg = encoded(COLOURS, "JPEG", progressive=True)
    several = encoded(COLOURS, "MPO", save_all=True, append_images=[COLOURS] * 3)
    for content in (video(jpeg), video(several), jpeg + b"\0" * 1000, jpeg + jpeg * 20):
        got = prepared(content)
        assert got.damage == ()
        assert np.array_equal(got.pixels, prepared(jpeg).pixels) or content[:3000] == video(several)[:3000]


def test_a_jpeg_without_its_end_is_read_with_a_warning_if_its_pixels_are_there() -> None:
    for image in (COLOURS, boot(), COLOURS.convert("CMYK")):
        whole = encoded(image, "JPEG")
        for content in (whole[:-2], whole[:-1], whole[:-2] + bytes(100), whole[:-2] + b"\xff" * 100):
            got = prepared(content)
            assert got.damage == (CUT,)
            assert np.array_equal(got.pixels, prepared(whole).pixels)
        for share in (0.6, 0.8, 0.95):
            for padding in (b"", bytes(5000), b"\xff" * 5000):  # of a disk or a card that has no more of the file
                with pytest.raises(Unreadable, match="a damaged picture"):
                    prepared(whole[: round(share * len(whole))] + padding)


MEASURE = """
import os, pathlib, sys
from samebench.tasks.image_classification import decode_image
from tests.serving.load import forget, memory
file = decode_image.open_image(pathlib.Path(sys.argv[1]).read_bytes())
forget(os.getpid())
before = memory(os.getpid(), "VmHWM")
decode_image.decode(file, "RGB", 4000, lambda _: (28, 28))
print(memory(os.getpid(), "VmHWM") - before - decode_image.memory(file, edge=4000))
"""


def test_a_jpeg_without_its_end_takes_no_more_memory_than_is_reserved(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(COLOURS.resize((4000, 4000)), "JPEG")[:-2])
    result = subprocess.run([sys.executable, "-c", MEASURE, path], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 16 << 20, "what a decoder takes for any picture comes on top"


@pytest.mark.parametrize(
    "content",
    [b"<!---->" * 24 + b"x", b"\xff\xd8" + b"\xff" * 30_000 + b"\0", encoded(COLOURS, "JPEG")[:-2] + b"\xff" * 30_000],
    ids=["comments", "no marker", "a scan and no marker"],
)
def test_reading_takes_time_by_the_size_and_no_more(content: bytes) -> None:
    started = time.process_time()
    with suppress(Unreadable):
        decode_image.open_image(content)
    assert time.process_time() - started < 1


def test_a_webp_that_is_cut_behind_its_pixels_is_read_with_a_warning() -> None:
    webp, more = with_webp_chunk(b"EXIF", ENDLESS), encoded(COLOURS, "WEBP", lossless=True)
    film = encoded(
        COLOURS, "WEBP", lossless=True, save_all=True, append_images=[boot(size=COLOURS.size).convert("RGB")]
    )
    long = more[:4] + struct.pack("<I", len(more) + 100) + more[8:]
    for content in (webp[:-20], webp[: -8 - len(ENDLESS)], long, film[:-5]):
        got = prepared(content)
        assert got.damage == (CUT,)
        assert np.array_equal(got.pixels, prepared(more).pixels)
    for content in (webp[: -11 - len(ENDLESS)], more[:-3], more[: len(more) // 2], film[: len(film) // 4]):
        with pytest.raises(Unreadable, match="a damaged picture"):
            prepared(content)


def hidden_first(*, at: tuple[int, int] = (0, 0), image: Image.Image = COLOURS) -> bytes:
    """An animated PNG whose default image is black and no part of the animation."""
    frame, (width, height) = encoded(image), COLOURS.size
    black = encoded(Image.new("RGB", (width, height)))
    pixels = frame[frame.index(b"IDAT") + 4 : -16]
    control = struct.pack(">IIIIIHHBB", 0, *image.size, *at, 1, 10, 0, 0)
    animation = chunk(b"fcTL", control) + chunk(b"fdAT", struct.pack(">I", 1) + pixels)
    return black[:33] + chunk(b"acTL", struct.pack(">II", 1, 0)) + black[33:-12] + animation + black[-12:]


def test_of_an_animated_png_the_picture_is_taken_that_browsers_show_first() -> None:
    assert np.array_equal(prepared(hidden_first()).pixels, prepared(encoded(COLOURS)).pixels)
    canvas = Image.new("RGBA", COLOURS.size)
    canvas.paste(quarters((60, 50)), (30, 20))
    part = hidden_first(at=(30, 20), image=quarters((60, 50)))
    assert np.array_equal(prepared(part).pixels, prepared(encoded(canvas)).pixels)
    outside = hidden_first(at=(100, 20), image=quarters((60, 50)))
    assert prepared(outside).is_empty, "no browser can show such an animation, so it is the default image"
    film = encoded(COLOURS, save_all=True, append_images=[Image.new("RGB", COLOURS.size)])
    assert np.array_equal(prepared(film).pixels, prepared(encoded(COLOURS)).pixels)


def test_a_transparent_value_counts_whatever_the_bits_of_a_level(preparation: ImageTransform) -> None:
    levels = np.asarray(boot(size=(280, 280))).copy()
    clear = levels == 255
    right = transformed(encoded(Image.fromarray(levels), transparency=60), preparation).pixels
    sixteen = Image.fromarray(levels.astype(np.uint16) * 257)
    png = encoded(sixteen)
    assert np.array_equal(
        transformed(png[:33] + chunk(b"tRNS", struct.pack(">H", 60 * 257)) + png[33:], preparation).pixels, right
    )
    few = Image.fromarray(np.where(clear, 3, 1).astype(np.uint8))
    few.putpalette([each for level in range(4) for each in [level * 85] * 3])
    packed = encoded(few, bits=2)
    start = packed.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(packed[start : start + 4], "big")
    header = chunk(b"IHDR", packed[16:24] + bytes([2, 0]) + packed[26:29])
    grey = packed[:8] + header + packed[33:start] + chunk(b"tRNS", b"\0\1") + packed[end:]
    eight = encoded(Image.fromarray(np.where(clear, 255, 85).astype(np.uint8)), transparency=85)
    assert np.array_equal(transformed(grey, preparation).pixels, transformed(eight, preparation).pixels)


def test_a_transparent_colour_of_16_bits_is_that_colour_alone() -> None:
    levels = np.asarray(COLOURS).astype(np.uint16) * 257
    levels[:45, :60, 1] += np.arange(60, dtype=np.uint16)  # red, and what differs from it in the lower bits alone
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 120, 90, 16, 2, 0, 0, 0)) + chunk(b"tRNS", b"\xff\xff\0\0\0\0")
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)))
    clear = Image.fromarray((levels >> 8).astype(np.uint8)).convert("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 1, 45))
    got = prepared(encoded(COLOURS)[:8] + header + pixels + chunk(b"IEND", b""))
    assert np.array_equal(got.pixels, prepared(encoded(clear)).pixels)


def test_what_stands_at_the_wrong_place_of_a_png_counts_for_nothing() -> None:
    right = encoded(COLOURS.convert("P"))
    early = right[:33] + chunk(b"tRNS", bytes(100)) + right[33:]
    assert prepared(early).damage == (METADATA,)
    late = encoded(COLOURS)[:-12] + chunk(b"iCCP", b"a\0\0" + zlib.compress(display_p3())) + chunk(b"IEND", b"")
    for content, image in ((early, COLOURS.convert("P")), (late, COLOURS)):
        assert np.array_equal(prepared(content).pixels, prepared(encoded(image)).pixels)


@pytest.mark.parametrize(
    ("chunks", "damage"),
    [
        ({b"gAMA": struct.pack(">I", 100_000)}, (PROFILE,)),
        ({b"gAMA": struct.pack(">I", 55_556)}, (PROFILE,)),
        ({b"cHRM": struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)}, (PROFILE,)),
        ({b"cICP": b"\x0c\x0d\0\1"}, (PROFILE,)),
        ({b"sRGB": b"\0", b"cICP": b"\x09\x10\0\1"}, (PROFILE,)),
        ({b"gAMA": struct.pack(">I", 45_455)}, ()),
        ({b"gAMA": bytes(4), b"cHRM": bytes(32)}, ()),
        ({b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)}, ()),
        ({b"gAMA": struct.pack(">I", 100_000), b"sRGB": b"\0"}, ()),
        ({b"cICP": b"\1\x0d\0\1", b"gAMA": struct.pack(">I", 100_000)}, ()),
    ],
)
def test_colours_that_are_not_those_of_srgb_are_said_to_be_so(
    chunks: dict[bytes, bytes], damage: tuple[str, ...]
) -> None:
    png = encoded(COLOURS)
    got = prepared(png[:33] + b"".join(chunk(kind, content) for kind, content in chunks.items()) + png[33:])
    assert got.damage == damage
    assert np.array_equal(got.pixels, prepared(png).pixels)


def test_around_a_picture_that_does_not_fill_its_animation_it_is_white() -> None:
    part, width, height = quarters((60, 50)), 120, 90
    picture = encoded(part, "WEBP", lossless=True)[12:]
    numbers = (30 // 2, 20 // 2, part.width - 1, part.height - 1, 100)  # place, size and milliseconds
    frame = b"".join(each.to_bytes(3, "little") for each in numbers) + b"\0" + picture
    body = struct.pack("<4sIB3x", b"VP8X", 10, 2) + b"".join(
        each.to_bytes(3, "little") for each in (width - 1, height - 1)
    )
    body += b"ANIM" + struct.pack("<IIH", 6, 0xFF00FF00, 0) + b"ANMF" + struct.pack("<I", len(frame)) + frame
    canvas = Image.new("RGB", (width, height), "white")
    canvas.paste(part, (30, 20))
    film = b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body
    assert np.array_equal(prepared(film).pixels, prepared(encoded(canvas)).pixels)


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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_colours_of_a_wide_gamut_become_those_of_srgb(kind: str) -> None:
    image = Image.new("RGB", (90, 90), (200, 100, 100))
    ways: dict[str, dict[str, Any]] = {"PNG": {}, "JPEG": {"quality": 100}, "WEBP": {"lossless": True}}
    options = ways[kind]
    wide = prepared(encoded(image, kind, icc_profile=display_p3(), **options))
    assert np.abs(wide.pixels[:, 14, 14].astype(int) - [215, 95, 98]).max() <= 4, "redder than in sRGB"
    assert wide.damage == ()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(
        prepared(encoded(image, kind, icc_profile=srgb, **options)).pixels,
        prepared(encoded(image, kind, **options)).pixels,
    )
    half = image.convert("RGBA")
    half.putalpha(128)
    if kind != "JPEG":
        got = prepared(encoded(half, kind, icc_profile=display_p3(), **options)).pixels[:, 14, 14].astype(int)
        assert np.abs(got - [235, 175, 176]).max() <= 4


def test_a_profile_for_other_pixels_is_ignored_with_a_warning() -> None:
    grey = Image.new("L", (90, 90), 100)
    got = prepared(encoded(grey, icc_profile=display_p3()))
    assert (got.damage, set(got.pixels.flatten().tolist())) == ((PROFILE,), {100})


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "video"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"BM6\0\0\0", "BMP"),
        (b"\xff\x0a\0", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"%PDF-1.7", "PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"<!DOCTYPE html>\n<html>", "web page"),
        (b"<!-- drawn -->\n<!DOCTYPE svg [<!ENTITY a '>'>]>\n<svg:svg xmlns:svg='x'>", "SVG"),
        ('<?xml version="1.0" encoding="utf-16"?><svg/>'.encode("utf-16"), "SVG"),
        (b"\xef\xbb\xbf\n<HTML lang='en'>", "web page"),
        (b"<!-- saved from -->\n<html>", "web page"),
        (b"<head><title>404</title>", "web page"),
        (b'{"error": "not found"}', "text"),
        ("Größe".encode()[:-1], "text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video"),
        (b"P6\n2 2\n255\n\0", "PNM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"v/1\x01\2\0", "OpenEXR or Radiance"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "PNG copied as text"),
        (b"\x89PNG\r\r\n\x1a\r\n\0\0\0\rIHDR", "PNG copied as text"),
        (b"\x80nothing that is known\0", ""),
        (bytes(2000), ""),
        (b"", "empty file"),
    ],
)
def test_another_format_is_named_with_what_to_do(content: bytes, name: str) -> None:
    with pytest.raises(Foreign, match=r"^no PNG, JPEG or WebP picture") as refused:
        decode_image.open_image(content)
    assert refused.value.name == name
    assert (f"but {name}; " in str(refused.value)) == bool(name)
    assert bool(refused.value.remedy) == bool(name)


def test_a_picture_of_one_colour_or_none_has_nothing_to_see(server: Server, preparation: ImageTransform) -> None:
    for image in (Image.new("RGB", (80, 60), (9, 99, 200)), Image.new("RGBA", (80, 60)), Image.new("L", (28, 28), 3)):
        assert transformed(encoded(image), preparation).is_empty
        assert NOTHING in server.predict(encoded(image)).json()["warnings"]
    assert not transformed(encoded(boot()), preparation).is_empty


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: bomb(60_000, 60_000), "60000x60000 pixels, at most 300 million"),
        (
            lambda: bomb(16_000, 16_000),
            "16000x16000 pixels of this kind take 1536 MB of memory, at most 640; .* a JPEG",
        ),
        (lambda: resized(encoded(COLOURS, "JPEG"), 60_000, 60_000), "at most 300 million"),
        (lambda: resized(encoded(COLOURS, "JPEG", progressive=True), 17_000, 17_000), "not a progressive one"),
        (lambda: extended(16_000, 16_000), "16000x16000 pixels of this kind take 4352 MB"),
        (lambda: extended(2**24, 2**24), "at most 300 million"),
    ],
)
def test_what_would_take_too_much_memory_or_time_is_refused_before_it_is_decoded(
    content: Callable[[], bytes], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(TooLarge, match=said):
        decode_image.open_image(content())


def test_a_jpeg_of_many_scans_may_not_be_large_too() -> None:
    jpeg = encoded(COLOURS.convert("L"), "JPEG", progressive=True)
    scan = jpeg.rindex(b"\xff\xda")
    large = resized(jpeg[:-2] + jpeg[scan:-2] * 60 + jpeg[-2:], 10_000, 10_000)
    with pytest.raises(TooLarge, match=r"10000x10000 pixels in [0-9]+ scans; save it as an ordinary JPEG"):
        decode_image.open_image(large)


@pytest.mark.parametrize("size", [(9000, 40), (8000, 6000)])
def test_a_photo_of_a_phone_is_reduced_while_it_is_decoded(size: tuple[int, int]) -> None:
    image = quarters((800, 600)).resize(size, Image.Resampling.NEAREST)
    content = encoded(image, "JPEG")
    file = decode_image.open_image(content)
    opened = decode_image._open(file, content, "RGB", 8 * 28)
    assert opened.size == size if min(size) < 224 else opened.size == (1000, 750)
    corners = prepared(content).pixels
    small = prepared(encoded(image.resize((800, max(1, 800 * size[1] // size[0])), Image.Resampling.BOX))).pixels
    assert np.abs(corners.astype(int) - small).mean() < 8


def test_pictures_wait_for_memory_and_give_it_back() -> None:
    shared = decode_image.Memory(100_000_000)
    with shared.reserve(60_000_000):
        assert shared.free == 40_000_000
        with shared.reserve(1_000_000):
            assert shared.free == 40_000_000, "small ones wait for nothing"
    with shared.reserve(500_000_000):
        assert shared.free == 0, "one that needs more than all is alone"
    assert shared.free == 100_000_000


def test_the_server_says_of_a_file_what_is_damaged(server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json()
    known = document["components"]["schemas"]["Answer"]["properties"]["warnings"]["items"]["enum"]
    for content, warning in ((with_chunk(b"eXIf", GARBAGE), UNTURNED), (encoded(boot(), "JPEG")[:-2], CUT)):
        answer = server.predict(content).json()
        assert warning in answer["warnings"]
        assert set(answer["warnings"]) <= set(known)
    refused = server.predict(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    assert refused.status == 415
    assert "but HEIC; export it as JPEG" in refused.json()["detail"]


def test_a_picture_far_outside_of_the_training_pixels_is_said_to_be_so(artifact: Artifact) -> None:
    light, dark = (np.full((28, 28), level, np.uint8) for level in (200, 30))
    assert not is_outside(light, artifact.spec["levels"]), "without levels it has learned from all"
    levels: tuple[tuple[int, int], ...] = ((100, 120),)
    assert [is_outside(each, levels) for each in (light, dark, dark + 80)] == [True, True, False]
    speck = np.full((28, 28), 110, np.uint8)
    speck[3, 3:6] = 255
    assert not is_outside(speck, levels)
    application = Application(change_spec(artifact, levels=levels))
    (answer,) = application.answers([Content(encoded(light), "image/png")], seen=False)
    assert OUTSIDE in answer["warnings"]
    levels = ((0, 255), (0, 255), (9, 9))
    assert is_outside(np.stack([light, dark, light]), levels)
    assert not is_outside(np.stack([light, light, dark]), levels)


def test_an_export_tells_the_levels_of_its_training_pixels() -> None:
    images = torch.tensor([[3, 200], [7, 90]], dtype=torch.uint8).view(2, 2, 1, 1)
    assert Split(images, torch.tensor([0, 1])).levels() == [[3, 7], [90, 200]]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_cut_picture_that_needs_no_conversion_is_damaged_too(mode: str, preparation: ImageTransform) -> None:
    content = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8)).convert(mode))
    with pytest.raises(Unreadable, match="a damaged picture"):
        transformed(content[: len(content) // 2], preparation)
