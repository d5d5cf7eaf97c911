"""What the reading of a picture takes: memory and time have bounds."""

import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TooLarge
from samebench.tasks.image_classification.picture_file import (
    Unreadable,
)
from tests.samebench.pictures import quarters

from .conftest import encoded
from .picture_bytes import COLOURS, bomb, extended, prepared, resized


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
