"""Pictures as phones and shops make them: what the network sees of them."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from apparel.serving import garment
from apparel.serving.garment import FAINT, RESTLESS, SIDE
from samebench.core.paths import ROOT
from samebench.tasks.image_classification import decode_image
from samebench.tasks.image_classification.decode_image import TURNS
from samebench.tasks.image_classification.image_transform import TOO_SMALL, ImageTransform, TransformedImage
from samebench.tasks.image_classification.picture_file import Foreign, Unreadable

from .conftest import encoded

UNDONE = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


def prepared(content: bytes) -> TransformedImage:
    return garment.prepare(decode_image.open_image(content))


def boot(*, size: tuple[int, int] = (300, 400), at: tuple[int, int] = (60, 90), scale: float = 1.0) -> Image.Image:
    """A dark shape like an ankle boot, with a light lace, on white; not the same turned or mirrored."""
    drawn = Image.new("L", size, 255)
    outline = [(0, 0), (70, 0), (75, 80), (170, 120), (175, 150), (0, 150)]
    ImageDraw.Draw(drawn).polygon([(at[0] + x * scale, at[1] + y * scale) for x, y in outline], fill=60)
    ImageDraw.Draw(drawn).line(
        [(at[0] + 10 * scale, at[1] + 40 * scale), (at[0] + 60 * scale, at[1] + 40 * scale)], 160, 8
    )
    return drawn


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


def test_other_formats_are_refused_by_name_unread() -> None:
    gif = encoded(boot(), "GIF", save_all=True, append_images=[boot()] * 3)
    for content in (gif, encoded(boot(), "BMP"), encoded(boot(), "TIFF"), b"%PDF-1.7", b"", b"<svg/>"):
        with pytest.raises(Foreign, match="no PNG, JPEG or WebP"):
            decode_image.open_image(content)


def test_a_side_may_be_as_long_as_the_memory_for_its_pixels_allows() -> None:
    for content in (encoded(Image.new("L", (20_000, 1))), encoded(Image.new("L", (1, 5000)), "JPEG")):
        assert prepared(content).warnings == (FAINT,)
    assert prepared(encoded(Image.new("1", (4096, 4096)))).warnings == (FAINT,)


def test_a_damaged_picture_is_unreadable_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    wholes = [encoded(boot(size=(60, 80)).convert("RGB"), kind) for kind in decode_image.FORMATS]
    wrong = 0
    for turn in range(600):
        content = bytearray(wholes[turn % len(wholes)])
        for place in rng.integers(0, len(content), 1 + turn % 20):
            content[place] = rng.integers(0, 256)
        try:
            prepared(bytes(content[: rng.integers(1, len(content) + 1)]))
        except Unreadable:
            wrong += 1
    assert 300 < wrong <= 600, "the others are still pictures"


def test_bombs_beside_the_pixels_of_a_picture_are_harmless() -> None:
    progressive = encoded(boot().convert("RGB"), "JPEG", progressive=True)
    assert close(prepared(progressive).pixels)
    scan = progressive.rindex(b"\xff\xda")
    with pytest.raises(Unreadable, match="more than 100 scans"):
        decode_image.open_image(progressive[:-2] + progressive[scan:-2] * 200 + b"\xff\xd9")
    several = encoded(boot().convert("RGB"), "MPO", save_all=True, append_images=[boot().convert("RGB")])
    assert close(prepared(several).pixels)
    assert close(prepared(several + progressive[scan:-2] * 200).pixels), "what is behind the end is not looked at"
    comments = PngInfo()
    for _ in range(3):
        comments.add_text("a", "b" * 900_000, zip=True)
    assert close(prepared(encoded(boot(), pnginfo=comments)).pixels), "no comment is unpacked"


def plain(content: bytes, *, side: int = 28, channels: int = 3) -> NDArray[np.uint8]:
    """What a network of one's own data sees, channels last."""
    pixels = ImageTransform(side, channels)(decode_image.open_image(content)).pixels
    return pixels if channels == 1 else np.moveaxis(pixels, 0, 2)


def quarters(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red, green, blue and black."""
    drawn, (width, height) = Image.new("RGB", size), size
    for place, colour in (((0, 0), "red"), ((width // 2, 0), "lime"), ((0, height // 2), "blue")):
        drawn.paste(Image.new("RGB", (width // 2, height // 2), colour), place)
    return drawn


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


def test_the_recipe_is_in_no_other_place() -> None:
    users = [path.name for path in (ROOT / "src").rglob("*.py") if "ImageFilter" in path.read_text()]
    assert users == ["garment.py"]
