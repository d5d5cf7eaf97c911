"""The colour profile of a picture: what its levels mean, and the levels of sRGB for them."""

import io
from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image, ImageCms

from samebench.tasks.image_classification.picture_file import PROFILE, PictureFile

SAME = 2  # levels of 255: a profile that moves no colour further is taken for sRGB
MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # the mode of Pillow for the colour space of a profile
STEPS = 5  # levels of each channel that a profile is tried on


@dataclass(frozen=True)
class Profile:
    """A profile that changes colours, for levels in `mode`: RGB, L or CMYK."""

    mode: str
    _transform: ImageCms.ImageCmsTransform

    @classmethod
    def of(cls, file: PictureFile) -> Self | None:
        """The profile of a file; None where it has none that changes colours.

        What is wrong with the profile is noted in the file.
        """
        if not file.profile:
            return None
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(file.profile))
            mode, srgb = (
                MODES[file.space],
                ImageCms.createProfile("sRGB"),
            )  # littlecms refuses other pixels than its own
            transform = cls(
                mode, ImageCms.buildTransform(source, srgb, mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
            )
            return transform if transform.changes() else None
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):  # what littlecms and Pillow say of a broken one
            file.note(PROFILE)
            return None

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """The colours of a picture in `mode` as RGB levels of sRGB."""
        converted = ImageCms.applyTransform(image, self._transform)
        assert converted is not None, "it is not done in place"
        return converted

    def changes(self) -> bool:
        """Whether some colour moves by more than SAME levels."""
        if self.mode == "CMYK":
            return True
        levels = np.linspace(0, 255, STEPS).astype(np.uint8)
        if self.mode == "L":
            colours = np.arange(256, dtype=np.uint8)[None]
            plain = np.repeat(colours[..., None], 3, axis=2)
        else:
            grid = np.meshgrid(levels, levels, levels)
            colours = plain = np.stack(grid, axis=-1).reshape(1, -1, 3)
        moved = np.asarray(self.to_srgb(Image.fromarray(colours))).astype(int) - plain
        return bool(np.abs(moved).max() > SAME)
