"""A picture, as a phone or a shop makes it, to the few pixels that a network knows.

How, is a preparation. `plain`, for data sets of one's own: the whole picture onto a square; their import does the same.
`garment`, for Fashion-MNIST, which was made from shop pictures so: trimmed to the garment, the longest edge scaled to
28 pixels, sharpened, centred, turned to a light garment on black (Xiao, Rasul and Vollgraf 2017, section 2), and its
lightest point is white (measured on all of them). This does the same.
"""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from samebench.tasks.image_classification import colour_profile, image_file
from samebench.tasks.image_classification.image_file import (
    CUT,
    DAMAGE,
    JPEG,
    PNG,
    WEBP,
    Foreign,
    PictureFile,
    Unreadable,
    damaged,
)

__all__ = ["Foreign", "Unreadable"]

FORMATS = (JPEG, PNG, WEBP)
MAX_PIXELS = 300_000_000  # of a picture; phones make 200 million
MAX_SCAN_PIXELS = 4_000_000_000  # pixels times scans of a JPEG in several; 10 scans of the largest
MAX_MEMORY = 640_000_000  # bytes that the pictures which are decoded at the same time take together
REDUCED_BYTES = 128_000_000  # of a JPEG as it is decoded; where it would take more, it is decoded smaller
SMALL_MEMORY = 16_000_000  # bytes; a picture that takes fewer waits for no other
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
FILLER = b"\x5a" * 64  # no marker, and no picture's last bytes
BUSY = 25  # grey levels: half of the rim differs from its median by more

NOTHING = "nothing to see"  # all of one colour, or transparent
OUTSIDE = "unlike the training pictures"  # said by the artifact, which knows the range of the levels
TOO_SMALL = "very small"
FAINT = "low contrast"
RESTLESS = "busy background"
DOUBTFUL = "probably not a garment"  # said by the answer's confidence, not by the picture
STRANGE = "probably none of the categories"  # the same, where they are no garments

BLANK = {"garment": 0, "plain": 255}  # the grey level around a picture
EVERY = (NOTHING, *DAMAGE, OUTSIDE)
WARNINGS = {  # the doubt last
    "garment": (*EVERY, TOO_SMALL, FAINT, RESTLESS, DOUBTFUL),
    "plain": (*EVERY, TOO_SMALL, STRANGE),
}
Sizing = Callable[[tuple[int, int]], tuple[int, int]]  # the size to make of a size
EMPTY = 3  # grey levels of 255: a picture whose levels differ by no more has nothing to see


class TooLarge(Unreadable):
    """A picture that takes more memory or time than there is for one."""


@dataclass(frozen=True)
class TransformedImage:
    """What the network sees, uint8, as its preparation has it, and what about the picture makes it doubtful."""

    pixels: NDArray[np.uint8]
    warnings: tuple[str, ...]
    damage: tuple[str, ...] = ()  # what of the file is damaged, its pixels aside
    is_empty: bool = False  # whether all of it has one colour


def open_image(content: bytes) -> PictureFile:
    """A PNG, JPEG or WebP picture, of which no pixel has been decoded.

    Raises Foreign for other formats, TooLarge for one that takes too much memory or time, or Unreadable for a damaged
    structure.
    """
    file = image_file.parse(content)
    count, scans = file.width * file.height, file.scans if file.progressive else 1
    said = f"{file.width}x{file.height} pixels"
    if count > MAX_PIXELS:
        raise TooLarge(f"{said}, at most {MAX_PIXELS // 1_000_000} million are read; send a smaller one")
    if count * scans > MAX_SCAN_PIXELS:
        raise TooLarge(f"{said} in {scans} scans; save it as an ordinary JPEG, which has one")
    if (needed := memory(file)) > MAX_MEMORY:
        remedy = "send a smaller one, or a JPEG"
        if file.format == JPEG:
            remedy = "save it as an ordinary JPEG, not a progressive one, or send a smaller one"
        most = MAX_MEMORY // 1_000_000
        raise TooLarge(f"{said} of this kind take {needed // 1_000_000} MB of memory, at most {most}; {remedy}")
    return file


def memory(file: PictureFile, *, edge: int = 1) -> int:
    """The bytes that a picture takes while it is decoded and made small, a JPEG to `edge` pixels a side or more."""
    count = file.width * file.height
    if file.format == JPEG:
        buffered = file.coefficients if file.progressive or file.scans > 1 else 0
        return buffered + 8 * count // _reduction(file, edge) ** 2
    if file.format == WEBP:
        return 17 * count  # two canvases, a copy of one, and the picture
    sixteen, clear = file.depth == 16, bool(file.transparency)
    each = {0: 16 if sixteen else 6, 2: 10 if clear else 6, 3: 6, 4: 10, 6: 6}.get(file.colour, 16)
    return (each + (8 if file.frame else 0)) * count


def _reduction(file: PictureFile, edge: int) -> int:
    """How many times smaller a JPEG is decoded: so that each side keeps `edge` pixels, if there is memory for it."""
    least = next((each for each in (1, 2, 4) if 4 * file.width * file.height <= REDUCED_BYTES * each**2), 8)
    return max(least, next((each for each in (8, 4, 2) if min(file.size) // edge >= each), 1))


class Memory:
    """Memory that pictures share: one that needs more than is free waits for others."""

    def __init__(self, size: int) -> None:
        """Have `size` bytes."""
        self.size = self.free = size
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, needed: int) -> Iterator[None]:
        """Have `needed` bytes; wait for them where they are many."""
        if needed <= SMALL_MEMORY:
            yield
            return
        needed = min(needed, self.size)
        with self._changed:
            self._changed.wait_for(lambda: self.free >= needed)
            self.free -= needed
        try:
            yield
        finally:
            with self._changed:
                self.free += needed
                self._changed.notify_all()


DECODING = Memory(MAX_MEMORY)


@dataclass(frozen=True)
class ImageTransform:
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

    @property
    def shifted_in(self) -> int | None:
        """The grey level that comes in at the edge of a picture that training shifts; None: the edge repeats.

        Fashion-MNIST has black margins. A set of one's own may have none.
        """
        return self.blank if self.name == "garment" else None

    def __call__(self, file: PictureFile) -> TransformedImage:
        """What a network sees of a picture that `look` has read. Raises Unreadable for a damaged one."""
        return prepare(file) if self.name == "garment" else _plain(file, self)


GARMENTS = ImageTransform()


def prepare(file: PictureFile) -> TransformedImage:
    """Find the garment in a picture that `look` has read.

    A picture of 28x28 pixels is taken as it is, and only turned if it is dark on light. Raises Unreadable for a
    damaged one.
    """
    grey = np.asarray(_decoded(file, "L", WORKING_SIDE, _working_size))
    empty = bool(np.ptp(grey) <= EMPTY)
    if file.size == (SIDE, SIDE):
        return TransformedImage(_turned(grey), (), tuple(file.damage), empty)
    pixels, warnings = _found(grey, shrunk=max(file.size) / max(grey.shape))
    return TransformedImage(pixels, warnings, tuple(file.damage), empty)


def _decoded(file: PictureFile, mode: str, edge: int, smaller: Sizing) -> Image.Image:
    """The picture in `mode`, L or RGB, the right side up, over white, in the size that `smaller` makes of its size.

    A JPEG is decoded in a half, a quarter or an eighth of its size where both sides keep `edge` pixels. Raises
    Unreadable for a damaged picture.
    """
    profile = colour_profile.Profile.of(file)
    draft = "RGB" if profile else mode
    try:
        with DECODING.reserve(memory(file, edge=edge)):
            opened = _open(file, file.content, draft, edge)
            if file.format == JPEG and CUT in file.damage:
                _refuse_missing_pixels(file, opened, draft, edge)
            small = _opaque(opened, file, mode, smaller(opened.size), profile)
            small.load()  # Pillow decodes no earlier than it must
        turn = TURNS.get(file.orientation)
        return small if turn is None else small.transpose(turn)
    except Unreadable:
        raise
    except Exception as error:  # what a decoder says of a stranger's bytes has many names
        raise damaged() from error


def _open(file: PictureFile, content: bytes, mode: str, edge: int) -> Image.Image:
    """The picture, a JPEG set to decode no larger than need be."""
    Image.MAX_IMAGE_PIXELS = None  # `look` has held its size against ours
    opened = Image.open(io.BytesIO(content), formats=(file.format,))
    if opened.size != ((file.frame or (0, 0, *file.size))[2:]):
        raise damaged()
    if file.format == JPEG:
        scale = _reduction(file, edge)
        opened.draft(mode, (max(1, file.width // scale), max(1, file.height // scale)))
    return opened


def _refuse_missing_pixels(file: PictureFile, opened: Image.Image, mode: str, edge: int) -> None:
    """Raise Unreadable for a JPEG without its end that lacks some of its pixels, too.

    Where they are all there, the decoder does not look at what comes behind them.
    """
    other = file.content[: -len(image_file.END)] + FILLER + image_file.END
    if _open(file, other, mode, edge).tobytes() != opened.tobytes():
        raise damaged("it is cut")


def _opaque(
    opened: Image.Image, file: PictureFile, mode: str, size: tuple[int, int], profile: colour_profile.Profile | None
) -> Image.Image:
    """The picture over white, in this mode and size, its colours those of sRGB."""
    if file.frame:
        opened = _on_canvas(opened, file)
    if opened.mode.startswith("I"):
        opened = _eight_bits(opened, file)
    elif file.transparency and file.format == PNG:
        _scale_transparency(opened, file)
    if opened.has_transparency_data:
        clear = opened if opened.mode == "RGBA" else opened.convert("RGBA")
        small = clear.resize(size, Image.Resampling.BOX)
        if profile:
            small = Image.merge("RGBA", (*profile.to_srgb(small.convert(profile.mode)).split(), small.getchannel("A")))
        return Image.alpha_composite(Image.new("RGBA", size, "white"), small).convert(mode)
    wanted = profile.mode if profile else mode
    small = opened if opened.mode == wanted else opened.convert(wanted)
    small = small if small.size == size else small.resize(size, Image.Resampling.BOX)
    return profile.to_srgb(small).convert(mode) if profile else small


def _eight_bits(opened: Image.Image, file: PictureFile) -> Image.Image:
    """Grey levels of 16 bits as levels of 8, transparent where they have the value of `file.transparency`."""
    levels = np.asarray(opened)
    small = Image.fromarray((levels >> 8).astype(np.uint8))
    if not file.transparency:
        return small
    opaque = (levels != int.from_bytes(file.transparency, "big")).astype(np.uint8) * np.uint8(255)
    return Image.merge("LA", (small, Image.fromarray(opaque)))


def _scale_transparency(opened: Image.Image, file: PictureFile) -> None:
    """Have the transparent value of a PNG on the scale of 8 bits, as Pillow has its levels."""
    value = opened.info.get("transparency")
    if opened.mode == "L" and isinstance(value, int) and file.depth < 8:
        opened.info["transparency"] = value * 255 // ((1 << file.depth) - 1)
    elif opened.mode == "RGB" and isinstance(value, tuple) and file.depth == 16:
        opened.info["transparency"] = tuple(each >> 8 for each in value)


def _on_canvas(opened: Image.Image, file: PictureFile) -> Image.Image:
    """The first picture of an animation where it has its place in it, the rest transparent."""
    left, top, _, _ = file.frame or (0, 0, 0, 0)
    canvas = Image.new("RGBA", file.size)
    canvas.paste(opened.convert("RGBA"), (left, top))
    return canvas


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = max(1.0, max(size) / WORKING_SIDE)
    return max(1, round(size[0] / scale)), max(1, round(size[1] / scale))


def _turned(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dark on light if all four corners are light; of the 70,000 images of Fashion-MNIST none has such."""
    return 255 - grey if min(grey[0, 0], grey[0, -1], grey[-1, 0], grey[-1, -1]) > 127 else grey


def _found(grey: NDArray[np.uint8], *, shrunk: float) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The garment in `grey`, whose sides are `shrunk` times smaller than the picture's, and what is doubtful of it."""
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
    return _fitted(contrast[top:bottom, left:right]), tuple(warnings)


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


def _plain(file: PictureFile, wanted: ImageTransform) -> TransformedImage:
    """The whole picture the right side up, over white where it is transparent, fitted by area onto a white square."""
    side = wanted.side
    size = _scaled(file.width, file.size, side), _scaled(file.height, file.size, side)

    def smaller(_: tuple[int, int]) -> tuple[int, int]:
        return size

    upright = _decoded(file, "RGB", 8 * side, smaller)
    square = Image.new("RGB", (side, side), (wanted.blank,) * 3)
    square.paste(upright, ((side - upright.width) // 2, (side - upright.height) // 2))
    # Grey is made last, so that a grey picture has the same levels in a grey set as in one of colours.
    pixels = np.asarray(square.convert("L")) if wanted.channels == 1 else np.moveaxis(np.asarray(square), 2, 0)
    empty = bool((np.ptp(np.asarray(upright), axis=(0, 1)) <= EMPTY).all())
    warnings = (TOO_SMALL,) if max(file.size) < side else ()
    return TransformedImage(np.ascontiguousarray(pixels), warnings, tuple(file.damage), empty)


def _scaled(edge: int, size: tuple[int, int], side: int) -> int:
    return max(1, round(edge * side / max(size)))
