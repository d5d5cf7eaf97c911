"""A picture, as a phone or a shop makes it, to the few pixels that a network knows.

How, is a preparation. `plain`, for data sets of one's own: the whole picture onto a square; their import does the same.
`garment`, for Fashion-MNIST, which was made from shop pictures so: trimmed to the garment, the longest edge scaled to
28 pixels, sharpened, centred, turned to a light garment on black (Xiao, Rasul and Vollgraf 2017, section 2), and its
lightest point is white (measured on all of them). This does the same.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, PngImagePlugin, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP")
JPEGS = {"JPEG", "MPO"}  # what Pillow calls one with further pictures behind it, as phones make them
MAX_SIDE = 4096  # pixels; asked of the header, before anything is decoded
MAX_SCANS = 100  # of a progressive JPEG, which has ten or so; each takes time, and 100 of 4096x4096 a second
MAX_TEXT = 1 << 20  # bytes of all comments in a PNG, unpacked
SIDE = 28
LEAST_SIDE, MOST_SIDE = 8, 256  # of what a network sees: three times halved something is left; a set fits in memory
WORKING_SIDE = 8 * SIDE  # what a picture is reduced to before the garment is looked for
FRAME = 0.03  # of the shorter side: the rim that shows the background
GARMENT = 0.1  # of the highest contrast: what differs more from the background belongs to the garment
SHARPENING = ImageFilter.UnsharpMask(radius=1, percent=50, threshold=0)  # at 0 and 100 % more is taken for another
LOW_CONTRAST = 40  # grey levels of 255
ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BUSY = 25  # grey levels: half of the rim differs from its median by more

TOO_SMALL = "very small"
FAINT = "low contrast"
RESTLESS = "busy background"
DOUBTFUL = "probably not a garment"  # said by the answer's confidence, not by the picture
STRANGE = "probably none of the categories"  # the same, where they are no garments

BLANK = {"garment": 0, "plain": 255}  # the grey level around a picture
WARNINGS = {"garment": (TOO_SMALL, FAINT, RESTLESS, DOUBTFUL), "plain": (TOO_SMALL, STRANGE)}  # the doubt last


class Unreadable(ValueError):  # noqa: N818 - what the picture is
    """A picture that can't be read; the message says why and what would be."""


class Foreign(Unreadable):
    """Not one of the formats that are read."""


class TooLarge(Unreadable):
    """More pixels a side than are read."""


@dataclass(frozen=True)
class Prepared:
    """What the network sees, uint8, as its preparation has it, and what about the picture makes it doubtful."""

    pixels: NDArray[np.uint8]
    warnings: tuple[str, ...]


def look(content: bytes) -> Image.Image:
    """A PNG, JPEG or WebP picture of at most MAX_SIDE pixels a side, of which only the header has been read.

    Raises Foreign for other formats, TooLarge, or Unreadable for a damaged header.
    """
    PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT  # Pillow has no other way to say it
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise Foreign("no PNG, JPEG or WebP picture; send one of these") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge(f"more than {MAX_SIDE} pixels a side; send a smaller one") from error
    except Exception as error:  # what a decoder says of a stranger's bytes has many names
        raise Unreadable("a damaged picture; send another") from error
    if opened.format in JPEGS and content.count(b"\xff\xda") > MAX_SCANS:
        raise Unreadable(f"a JPEG of more than {MAX_SCANS} scans; save it as an ordinary one")
    if max(opened.size) > MAX_SIDE:
        width, height = opened.size
        raise TooLarge(f"{width}x{height} pixels, at most {MAX_SIDE} a side are read; send a smaller one")
    return opened


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes pixels; a data set, its models and their artifacts carry the same one.

    Raises ValueError for one that there is not.
    """

    name: str = "garment"
    side: int = SIDE
    channels: int = 1

    def __post_init__(self) -> None:
        """Look at each field."""
        known = self.name == "plain" or (self.name, self.side, self.channels) == ("garment", SIDE, 1)
        if not known or self.channels not in {1, 3} or not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise ValueError(f"no preparation {self.name} of {self.channels}x{self.side}x{self.side} pixels")

    @classmethod
    def told(cls, facts: Mapping[str, Any]) -> Self:
        """The one that facts of a model or an artifact tell of; older ones know garments alone."""
        try:
            side, channels = int(facts.get("side", SIDE)), int(facts.get("channels", 1))
        except OverflowError as error:
            raise ValueError(f"no preparation of such a size: {error}") from error
        return cls(name=facts.get("preparation", "garment"), side=side, channels=channels)

    def facts(self) -> dict[str, Any]:
        """What `told` reads."""
        return {"preparation": self.name, "side": self.side, "channels": self.channels}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a network's artifact is given for a picture: (28, 28), in colour (3, 28, 28)."""
        square = (self.side, self.side)
        return square if self.channels == 1 else (self.channels, *square)

    @property
    def doubt(self) -> str:
        """What an answer warns of that is not sure enough."""
        return WARNINGS[self.name][-1]

    @property
    def blank(self) -> int:
        """The grey level around a picture, 0 to 255."""
        return BLANK[self.name]

    def __call__(self, opened: Image.Image) -> Prepared:
        """What a network sees of a picture that `look` has opened. Raises Unreadable for a damaged one."""
        return prepare(opened) if self.name == "garment" else _plain(opened, self)


GARMENTS = Preparation()


def prepare(opened: Image.Image) -> Prepared:
    """Find the garment in a picture that `look` has opened.

    A picture of 28x28 pixels is taken as it is, and only turned if it is dark on light. Raises Unreadable for a
    damaged one.
    """
    size = opened.size
    grey = _decode(opened)
    if size == (SIDE, SIDE):
        return Prepared(_turned(grey), ())
    return _found(grey, shrunk=max(size) / max(grey.shape))


def _decode(opened: Image.Image) -> NDArray[np.uint8]:
    """Grey levels, the right side up, transparency over white, reduced to WORKING_SIDE."""
    try:
        turn = TURNS.get(opened.getexif().get(ORIENTATION, 1))
        opened.draft("L", (WORKING_SIDE, WORKING_SIDE))  # a JPEG decodes smaller in the first place
        whole = _opaque(opened)
        return np.asarray(whole if turn is None else whole.transpose(turn))
    except Exception as error:  # what a decoder says of a stranger's bytes has many names
        raise Unreadable("a damaged picture; send another") from error


def _opaque(opened: Image.Image) -> Image.Image:
    size = _working_size(opened.size)
    if opened.mode.startswith("I"):
        levels = (np.asarray(opened) >> 8).astype(np.uint8)  # 16 bits a pixel
        return Image.fromarray(levels).resize(size, Image.Resampling.BOX)
    if not opened.has_transparency_data:
        grey = opened if opened.mode == "L" else opened.convert("L")
        return grey if grey.size == size else grey.resize(size, Image.Resampling.BOX)
    small = opened.convert("RGBA").resize(size, Image.Resampling.BOX)
    return Image.alpha_composite(Image.new("RGBA", size, "white"), small).convert("L")


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = max(1.0, max(size) / WORKING_SIDE)
    return max(1, round(size[0] / scale)), max(1, round(size[1] / scale))


def _turned(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dark on light if all four corners are light; of the 70,000 images of Fashion-MNIST none has such."""
    return 255 - grey if min(grey[0, 0], grey[0, -1], grey[-1, 0], grey[-1, -1]) > 127 else grey


def _found(grey: NDArray[np.uint8], *, shrunk: float) -> Prepared:
    """The garment in `grey`, whose sides are `shrunk` times smaller than the picture's."""
    warnings = []
    rim = _rim(grey)
    background = float(np.median(rim))
    if np.median(np.abs(rim - background)) > BUSY:
        warnings.append(RESTLESS)
    contrast = grey.astype(np.float32) - background
    if contrast.clip(max=0).sum() < -contrast.clip(min=0).sum():
        contrast = -contrast  # the garment is darker than what is around it
    contrast = contrast.clip(0, 255)
    if np.percentile(contrast, 99) < LOW_CONTRAST:
        warnings.append(FAINT)
    top, bottom, left, right = _box(contrast)
    if max(bottom - top, right - left) * shrunk < SIDE:
        warnings.append(TOO_SMALL)
    return Prepared(_fitted(contrast[top:bottom, left:right]), tuple(warnings))


def _rim(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    width = max(1, round(FRAME * min(grey.shape)))
    sides = [grey[:width], grey[-width:], grey[:, :width], grey[:, -width:]]
    return np.concatenate([side.ravel() for side in sides]).astype(np.float32)


def _box(contrast: NDArray[np.float32]) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what stands out, single specks aside; the whole where nothing does."""
    smooth = np.asarray(Image.fromarray(contrast.astype(np.uint8)).filter(ImageFilter.MedianFilter(3)))
    garment = smooth > GARMENT * max(float(smooth.max()), 1.0)
    rows, columns = np.flatnonzero(garment.any(1)), np.flatnonzero(garment.any(0))
    if not len(rows):
        return 0, contrast.shape[0], 0, contrast.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _fitted(garment: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Scaled by area to a longest edge of 28, centred on black, its lightest point white."""
    height, width = garment.shape
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    resized = Image.fromarray(garment.astype(np.uint8)).resize(size, Image.Resampling.BOX).filter(SHARPENING)
    small = np.asarray(resized) * (255 / max(1, np.asarray(resized).max()))
    canvas = np.zeros((SIDE, SIDE), dtype=np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small.round().astype(np.uint8)
    return canvas


def _plain(opened: Image.Image, wanted: Preparation) -> Prepared:
    """The whole picture the right side up, over white where it is transparent, fitted by area onto a white square."""
    side, size = wanted.side, opened.size
    try:
        turn = TURNS.get(opened.getexif().get(ORIENTATION, 1))
        opened.draft("RGB", (8 * side, 8 * side))
        small = _in_colour(opened, (_scaled(size[0], size, side), _scaled(size[1], size, side)))
        upright = small if turn is None else small.transpose(turn)
    except Exception as error:  # what a decoder says of a stranger's bytes has many names
        raise Unreadable("a damaged picture; send another") from error
    square = Image.new("RGB", (side, side), (wanted.blank,) * 3)
    square.paste(upright, ((side - upright.width) // 2, (side - upright.height) // 2))
    # Grey is made last, so that a grey picture has the same levels in a grey set as in one of colours.
    pixels = np.asarray(square.convert("L")) if wanted.channels == 1 else np.moveaxis(np.asarray(square), 2, 0)
    return Prepared(np.ascontiguousarray(pixels), (TOO_SMALL,) if max(size) < side else ())


def _scaled(edge: int, size: tuple[int, int], side: int) -> int:
    return max(1, round(edge * side / max(size)))


def _in_colour(opened: Image.Image, size: tuple[int, int]) -> Image.Image:
    """RGB of this size."""
    if opened.mode.startswith("I"):
        opened = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8))  # 16 bits a pixel
    if not opened.has_transparency_data:
        return opened.convert("RGB").resize(size, Image.Resampling.BOX)
    small = opened.convert("RGBA").resize(size, Image.Resampling.BOX)
    return Image.alpha_composite(Image.new("RGBA", size, "white"), small).convert("RGB")
