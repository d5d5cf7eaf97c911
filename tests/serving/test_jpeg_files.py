"""JPEG files as they come: without their end, with more behind it, of kinds that no browser shows."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.picture_file import (
    CUT,
    Unreadable,
)
from tests.samebench.pictures import boot

from .conftest import encoded
from .picture_bytes import COLOURS, prepared, resized, segment, video


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


def test_a_jpeg_of_many_scans_may_not_be_large_too() -> None:
    jpeg = encoded(COLOURS.convert("L"), "JPEG", progressive=True)
    scan = jpeg.rindex(b"\xff\xda")
    large = resized(jpeg[:-2] + jpeg[scan:-2] * 60 + jpeg[-2:], 10_000, 10_000)
    with pytest.raises(TooLarge, match=r"10000x10000 pixels in [0-9]+ scans; save it as an ordinary JPEG"):
        decode_image.open_image(large)
