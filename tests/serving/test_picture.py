"""Pictures as phones and shops make them: what a network of one's own data sees of them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TURNS
from samebench.tasks.image_classification.image_transform import ImageTransform, TransformedImage
from samebench.tasks.image_classification.picture_file import Foreign, Unreadable
from tests.samebench.pictures import UNDONE, boot, quarters

from .conftest import encoded


@pytest.fixture
def preparation() -> ImageTransform:
    """What the network sees; a project's tests have their own."""
    return ImageTransform(28, 1)


def transformed(content: bytes, preparation: ImageTransform) -> TransformedImage:
    return preparation(decode_image.open_image(content))


def test_other_formats_are_refused_by_name_unread() -> None:
    gif = encoded(boot(), "GIF", save_all=True, append_images=[boot()] * 3)
    for content in (gif, encoded(boot(), "BMP"), encoded(boot(), "TIFF"), b"%PDF-1.7", b"", b"<svg/>"):
        with pytest.raises(Foreign, match="no PNG, JPEG or WebP"):
            decode_image.open_image(content)


def test_a_side_may_be_as_long_as_the_memory_for_its_pixels_allows(preparation: ImageTransform) -> None:
    for content in (encoded(Image.new("L", (20_000, 1))), encoded(Image.new("L", (1, 5000)), "JPEG")):
        assert transformed(content, preparation).is_empty
    assert transformed(encoded(Image.new("1", (4096, 4096))), preparation).is_empty


def test_a_damaged_picture_is_unreadable_and_nothing_else(preparation: ImageTransform) -> None:
    rng = np.random.default_rng(0)
    wholes = [encoded(boot(size=(60, 80)).convert("RGB"), kind) for kind in decode_image.FORMATS]
    wrong = 0
    for turn in range(600):
        content = bytearray(wholes[turn % len(wholes)])
        for place in rng.integers(0, len(content), 1 + turn % 20):
            content[place] = rng.integers(0, 256)
        try:
            transformed(bytes(content[: rng.integers(1, len(content) + 1)]), preparation)
        except Unreadable:
            wrong += 1
    assert 300 < wrong <= 600, "the others are still pictures"


def test_bombs_beside_the_pixels_of_a_picture_are_harmless(preparation: ImageTransform) -> None:
    seen = transformed(encoded(boot()), preparation).pixels

    def is_seen(content: bytes) -> bool:
        return float(np.abs(transformed(content, preparation).pixels.astype(int) - seen).mean()) < 6

    progressive = encoded(boot().convert("RGB"), "JPEG", progressive=True)
    assert is_seen(progressive)
    scan = progressive.rindex(b"\xff\xda")
    with pytest.raises(Unreadable, match="more than 100 scans"):
        decode_image.open_image(progressive[:-2] + progressive[scan:-2] * 200 + b"\xff\xd9")
    several = encoded(boot().convert("RGB"), "MPO", save_all=True, append_images=[boot().convert("RGB")])
    assert is_seen(several)
    assert is_seen(several + progressive[scan:-2] * 200), "what is behind the end is not looked at"
    comments = PngInfo()
    for _ in range(3):
        comments.add_text("a", "b" * 900_000, zip=True)
    assert is_seen(encoded(boot(), pnginfo=comments)), "no comment is unpacked"


def plain(content: bytes, *, side: int = 28, channels: int = 3) -> NDArray[np.uint8]:
    """What a network of one's own data sees, channels last."""
    pixels = ImageTransform(side, channels)(decode_image.open_image(content)).pixels
    return pixels if channels == 1 else np.moveaxis(pixels, 0, 2)


def test_a_plain_picture_is_wholly_there_in_its_colours_and_white_above_and_below() -> None:
    seen = plain(encoded(quarters()), side=30)
    assert seen.shape == (30, 30, 3)
    assert (seen[:5] == 255).all()
    assert (seen[25:] == 255).all()
    corners = [seen[5, 0], seen[5, 29], seen[24, 0], seen[24, 29]]
    assert [corner.tolist() for corner in corners] == [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]]


def test_a_plain_picture_of_the_right_size_is_taken_as_it_is() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    assert np.array_equal(plain(encoded(noise)), noise)
    assert np.array_equal(plain(encoded(noise[..., 0]), channels=1), noise[..., 0])


def test_a_plain_picture_is_scaled_by_area() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80), dtype=np.uint8)
    means = noise.reshape(8, 10, 8, 10).mean((1, 3))
    assert np.abs(plain(encoded(noise), side=8, channels=1) - means).max() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_plain_picture_has_the_right_side_up(orientation: int) -> None:
    held = quarters()
    if orientation > 1:
        held = held.transpose(UNDONE.get(orientation, TURNS[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned, upright = plain(encoded(held, exif=exif)), plain(encoded(quarters()))
    assert np.array_equal(turned, upright)


def test_a_plain_picture_is_over_white_where_it_is_transparent() -> None:
    clear = quarters().convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    assert (plain(encoded(clear)) == 255).all()
    clear.putalpha(Image.new("L", clear.size, 128))
    half = plain(encoded(clear), side=30)[5, 0]
    assert np.abs(half.astype(int) - [255, 127, 127]).max() <= 1


def test_a_grey_picture_has_the_same_levels_in_a_grey_set_and_in_one_of_colours() -> None:
    rng = np.random.default_rng(0)
    for size in ((28, 28), (300, 211), (9, 5)):
        grey = rng.integers(0, 256, size, dtype=np.uint8)
        for content in (encoded(grey), encoded(Image.fromarray(grey).convert("RGB")), encoded(grey, "JPEG")):
            assert (plain(content) == plain(content, channels=1)[..., None]).all()
