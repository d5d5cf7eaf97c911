"""PNG files as they come: animated, transparent, in colours of their own."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.picture_file import (
    METADATA,
    PROFILE,
)
from tests.samebench.pictures import boot, quarters

from .conftest import encoded
from .picture_bytes import (
    COLOURS,
    chunk,
    display_p3,
    prepared,
)
from .test_picture import preparation, transformed

__all__ = ["preparation"]  # a fixture


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
