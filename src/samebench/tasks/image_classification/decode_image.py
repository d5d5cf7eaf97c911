"""An image's file, as a phone or a shop makes it, to pixels: right side up, over white, in sRGB, in bounded memory."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageFile

from samebench.tasks.image_classification import colour_profile, image_file, jpeg_file
from samebench.tasks.image_classification.picture_file import CUT, JPEG, PNG, WEBP, PictureFile, Unreadable, damaged

FORMATS = (JPEG, PNG, WEBP)
MAX_PIXELS = 300_000_000  # of a picture; phones make 200 million
MAX_SCAN_PIXELS = 4_000_000_000  # pixels times scans of a JPEG in several; 10 scans of the largest
MAX_MEMORY = 640_000_000  # bytes that the pictures which are decoded at the same time take together
REDUCED_BYTES = 128_000_000  # of a JPEG as it is decoded; where it would take more, it is decoded smaller
SMALL_MEMORY = 16_000_000  # bytes; a picture that takes fewer waits for no other
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
STRIP = 64  # rows that are compared at a time
FILLER = b"\x5a" * 64  # no marker, and no picture's last bytes
Sizing = Callable[[tuple[int, int]], tuple[int, int]]  # the size to make of a size


class TooLarge(Unreadable):
    """A picture that takes more memory or time than there is for one."""


def open_image(content: bytes) -> PictureFile:
    """A PNG, JPEG or WebP picture, of which no pixel has been decoded.

    Raises Foreign for other formats, TooLarge for one that takes too much memory or time, or Unreadable for a damaged
    structure.
    """
    file = image_file.parse(content)
    count, scans = file.width * file.height, file.scans if file.progressive else 1
    size = f"{file.width}x{file.height} pixels"
    if count > MAX_PIXELS:
        raise TooLarge(f"{size}, at most {MAX_PIXELS // 1_000_000} million are read; send a smaller one")
    if count * scans > MAX_SCAN_PIXELS:
        raise TooLarge(f"{size} in {scans} scans; save it as an ordinary JPEG, which has one")
    if (needed := memory(file)) > MAX_MEMORY:
        remedy = "send a smaller one, or a JPEG"
        if file.format == JPEG:
            remedy = "save it as an ordinary JPEG, not a progressive one, or send a smaller one"
        most = MAX_MEMORY // 1_000_000
        raise TooLarge(f"{size} of this kind take {needed // 1_000_000} MB of memory, at most {most}; {remedy}")
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
    coloured = 6 if not clear else 16 if sixteen else 10
    each = {0: 16 if sixteen else 6, 2: coloured, 3: 6, 4: 10, 6: 6}.get(file.colour, 16)
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


def decode(file: PictureFile, mode: str, edge: int, smaller: Sizing) -> Image.Image:
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
    Image.MAX_IMAGE_PIXELS = None  # `open_image` has compared its size with ours
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
    other = _open(file, file.content[: -len(jpeg_file.END)] + FILLER + jpeg_file.END, mode, edge)
    if any(_strip(other, top) != _strip(opened, top) for top in range(0, opened.height, STRIP)):
        raise damaged("it is cut")


def _strip(image: Image.Image, top: int) -> bytes:
    """Some rows of an image: those of all would take as much memory as the image once more."""
    return image.crop((0, top, image.width, min(top + STRIP, image.height))).tobytes()


def _opaque(
    opened: Image.Image, file: PictureFile, mode: str, size: tuple[int, int], profile: colour_profile.Profile | None
) -> Image.Image:
    """The picture over white, in this mode and size, its colours those of sRGB."""
    if file.depth == 16 and file.colour == 2 and file.transparency:
        _clear_exact_colour(opened, file)
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
    target_mode = profile.mode if profile else mode
    small = opened if opened.mode == target_mode else opened.convert(target_mode)
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


def _clear_exact_colour(opened: Image.Image, file: PictureFile) -> None:
    """Make the pixels transparent that have all 16 bits of `file.transparency`; Pillow compares the upper 8."""
    lower = _open(file, file.content, "RGB", 1)
    assert isinstance(lower, ImageFile.ImageFile)
    lower.tile = [tile._replace(args="RGB;16L") for tile in lower.tile]  # the second byte of a level and not the first
    opened.info.pop("transparency", None)
    values = np.frombuffer(file.transparency, np.uint8)
    is_clear = (np.asarray(opened) == values[::2]).all(-1) & (np.asarray(lower) == values[1::2]).all(-1)
    opened.putalpha(Image.fromarray(~is_clear).convert("L"))


def _scale_transparency(opened: Image.Image, file: PictureFile) -> None:
    """Have the transparent value of a PNG on the scale of 8 bits, as Pillow has its levels."""
    value = opened.info.get("transparency")
    if opened.mode == "L" and isinstance(value, int) and file.depth < 8:
        opened.info["transparency"] = value * 255 // ((1 << file.depth) - 1)


def _on_canvas(opened: Image.Image, file: PictureFile) -> Image.Image:
    """The first picture of an animation where it has its place in it, the rest transparent."""
    left, top, _, _ = file.frame or (0, 0, 0, 0)
    canvas = Image.new("RGBA", file.size)
    canvas.paste(opened.convert("RGBA"), (left, top))
    return canvas
