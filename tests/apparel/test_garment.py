"""Pictures as phones and shops make them: what the network sees of them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apparel.serving import garment
from apparel.serving.garment import FAINT, GARMENTS, RESTLESS, SIDE, transform_from_dict
from samebench.core.paths import ROOT
from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TURNS
from samebench.tasks.image_classification.image_transform import TOO_SMALL, TransformedImage
from tests.samebench.pictures import UNDONE, boot
from tests.serving.conftest import encoded, images

__all__ = ["images"]  # a fixture


def prepared(content: bytes) -> TransformedImage:
    transformed: TransformedImage = garment.prepare(decode_image.open_image(content))
    return transformed


SEEN = prepared(encoded(boot())).pixels


def close(pixels: NDArray[np.uint8], to: NDArray[np.uint8] = SEEN, *, within: float = 6) -> bool:
    """Whether two pictures differ by few grey levels on average."""
    return float(np.abs(pixels.astype(int) - to).mean()) < within


def test_the_garment_is_light_on_black_fills_one_side_and_is_centred() -> None:
    rows, columns = (np.flatnonzero(SEEN.max(axis) > 50) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (0, SIDE - 1), "the boot is wider than high"
    assert abs(rows[0] - (SIDE - 1 - rows[-1])) <= 1
    assert SEEN.max() == 255
    assert SEEN[[0, 0, -1, -1], [0, -1, 0, -1]].max() == 0
    assert SEEN[14, 3] > SEEN[5, 25], "the shaft is at the left"


def test_a_picture_of_28_pixels_is_taken_as_it_is(images: NDArray[np.uint8]) -> None:
    for image in images[:20]:
        assert np.array_equal(prepared(encoded(image)).pixels, image)


def test_a_picture_of_28_pixels_that_is_dark_on_light_is_turned(images: NDArray[np.uint8]) -> None:
    framed = np.pad(images[0][2:-2, 2:-2], 2)
    assert np.array_equal(prepared(encoded(255 - framed)).pixels, framed)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_right_side_is_up_however_the_phone_was_held(orientation: int) -> None:
    held = boot()
    if orientation > 1:
        held = held.transpose(UNDONE.get(orientation, TURNS[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert close(prepared(encoded(held, "JPEG", quality=95, exif=exif)).pixels)


def test_neither_format_nor_colours_nor_where_it_is_change_what_is_seen() -> None:
    plain = boot()
    transparent = Image.merge("LA", (plain, plain.point(lambda grey: 0 if grey == 255 else 255)))
    clear = transparent.convert("RGBA")
    sixteen = Image.fromarray(np.asarray(plain).astype(np.uint16) * 257)
    ways = {
        "jpeg": encoded(plain.convert("RGB"), "JPEG"),
        "webp": encoded(plain.convert("RGB"), "WEBP"),
        "cmyk": encoded(plain.convert("CMYK"), "JPEG"),
        "palette": encoded(plain.convert("P")),
        "grey and alpha": encoded(transparent),
        "alpha": encoded(clear),
        "palette with alpha": encoded(clear.quantize()),
        "16 bit": encoded(sixteen),
        "light on black": encoded(255 - np.asarray(plain)),
        "on grey": encoded(Image.fromarray((np.asarray(plain) * 0.7 + 40).astype(np.uint8))),
        "far": encoded(boot(size=(900, 700), at=(500, 400))),
        "near": encoded(boot(size=(1200, 1400), at=(60, 90), scale=6)),
    }
    assert [name for name, content in ways.items() if not close(prepared(content).pixels)] == []
    assert prepared(encoded(plain.convert("1"))).pixels.shape == (SIDE, SIDE)


def test_a_transparent_pixel_is_white_whatever_colour_it_hides() -> None:
    clear = boot().convert("RGBA")
    hidden = np.asarray(clear).copy()
    hidden[(hidden[..., 0] == 255)] = [255, 0, 0, 0]
    assert close(prepared(encoded(Image.fromarray(hidden))).pixels)


def test_a_good_picture_has_no_warning_and_a_doubtful_one_has_its_own() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (300, 400), dtype=np.uint8)
    faint = Image.fromarray((235 + np.asarray(boot()) / 13).astype(np.uint8))
    assert prepared(encoded(boot())).warnings == ()
    assert prepared(encoded(noise)).warnings == (RESTLESS,)
    assert prepared(encoded(faint)).warnings == (FAINT,)
    assert prepared(encoded(Image.new("L", (300, 400), 255))).warnings == (FAINT,)
    assert TOO_SMALL in prepared(encoded(boot(scale=0.1))).warnings
    assert TOO_SMALL not in prepared(encoded(boot(size=(3000, 4000)))).warnings


def test_specks_are_no_garment() -> None:
    speckled = np.asarray(boot()).copy()
    speckled[20:22, 20:22] = speckled[380, 290] = 0
    assert close(prepared(encoded(speckled)).pixels)


def test_garments_are_prepared_as_ever() -> None:
    assert GARMENTS.to_dict() == {"preparation": "garment", "side": 28, "channels": 1}
    assert transform_from_dict({}) == GARMENTS
    image = encoded(boot())
    assert np.array_equal(GARMENTS(decode_image.open_image(image)).pixels, prepared(image).pixels)
    for wrong in ({"side": 27}, {"channels": 3}, {"preparation": "other"}, {"preparation": "plain", "side": 7}):
        with pytest.raises(ValueError, match="no preparation"):
            transform_from_dict(wrong)


def test_the_recipe_is_in_no_other_place() -> None:
    users = [path.name for path in (ROOT / "src").rglob("*.py") if "ImageFilter" in path.read_text()]
    assert users == ["garment.py"]
