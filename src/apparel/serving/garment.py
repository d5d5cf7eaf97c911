"""A photo of a garment to the pixels that a network trained on Fashion-MNIST knows.

Fashion-MNIST was made from shop pictures so: trimmed to the garment, the longest edge scaled to 28 pixels, sharpened,
centred, turned to a light garment on black (Xiao, Rasul and Vollgraf 2017, section 2), and its lightest point is white
(measured on all of them). This does the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from samebench.tasks.image_classification.decode_image import decode
from samebench.tasks.image_classification.image_transform import (
    EMPTY,
    EVERY,
    TOO_SMALL,
    ImageTransform,
    TransformedImage,
)
from samebench.tasks.image_classification.picture_file import PictureFile

SIDE = 28
WORKING_SIDE = 8 * SIDE  # what a picture is reduced to before the garment is looked for
FRAME = 0.03  # of the shorter side: the rim that shows the background
GARMENT = 0.1  # of the highest contrast: what differs more from the background belongs to the garment
SHARPENING = ImageFilter.UnsharpMask(radius=1, percent=50, threshold=0)  # at 0 and 100 % more is taken for another
LOW_CONTRAST = 40  # grey levels of 255
BUSY = 25  # grey levels: half of the rim differs from its median by more

FAINT = "low contrast"
RESTLESS = "busy background"
DOUBTFUL = "probably not a garment"  # said by the answer's confidence, not by the picture


@dataclass(frozen=True)
class GarmentTransform(ImageTransform):
    """The garment alone, light on black, 28x28 and grey. Raises ValueError for another size."""

    side: int = SIDE

    name: ClassVar[str] = "garment"
    blank: ClassVar[int] = 0
    shifted_in: ClassVar[int | None] = 0  # Fashion-MNIST has black margins
    warnings: ClassVar[tuple[str, ...]] = (*EVERY, TOO_SMALL, FAINT, RESTLESS, DOUBTFUL)

    def __post_init__(self) -> None:
        """Look at each field."""
        if (self.side, self.channels) != (SIDE, 1):
            raise ValueError(f"no preparation {self.name} of {self.channels}x{self.side}x{self.side} pixels")

    def __call__(self, file: PictureFile) -> TransformedImage:
        """What a network sees of a picture that `open_image` has read. Raises Unreadable for a damaged one."""
        return prepare(file)


GARMENTS = GarmentTransform()


def transform_from_dict(facts: Mapping[str, Any]) -> ImageTransform:
    """The transform that facts of a model or an artifact tell of; older ones know garments alone."""
    return ImageTransform.from_dict({"preparation": GARMENTS.name, "side": SIDE, **facts}, GarmentTransform)


def prepare(file: PictureFile) -> TransformedImage:
    """Find the garment in a picture that `open_image` has read.

    A picture of 28x28 pixels is taken as it is, and only turned if it is dark on light. Raises Unreadable for a
    damaged one.
    """
    grey = np.asarray(decode(file, "L", WORKING_SIDE, _working_size))
    empty = bool(np.ptp(grey) <= EMPTY)
    if file.size == (SIDE, SIDE):
        return TransformedImage(_turned(grey), (), tuple(file.damage), empty)
    pixels, warnings = _find_garment(grey, shrunk=max(file.size) / max(grey.shape))
    return TransformedImage(pixels, warnings, tuple(file.damage), empty)


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = max(1.0, max(size) / WORKING_SIDE)
    return max(1, round(size[0] / scale)), max(1, round(size[1] / scale))


def _turned(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Dark on light if all four corners are light; of the 70,000 images of Fashion-MNIST none has such."""
    return 255 - grey if min(grey[0, 0], grey[0, -1], grey[-1, 0], grey[-1, -1]) > 127 else grey


def _find_garment(grey: NDArray[np.uint8], *, shrunk: float) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
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
