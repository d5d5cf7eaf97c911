"""How an image becomes the pixels that a network sees. A data set, its models and their artifacts have the same one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samebench.tasks.image_classification.decode_image import decode
from samebench.tasks.image_classification.picture_file import DAMAGE, PictureFile

LEAST_SIDE, MOST_SIDE = 8, 256  # of what a network sees: three times halved something is left
EMPTY = 3  # grey levels of 255: an image whose levels differ by no more has nothing to see

NOTHING = "nothing to see"  # all of one colour, or transparent
OUTSIDE = "unlike the training pictures"  # said by the artifact, which knows the range of the levels
TOO_SMALL = "very small"
STRANGE = "probably none of the categories"  # said by the answer's confidence, not by the image
EVERY = (NOTHING, *DAMAGE, OUTSIDE)


@dataclass(frozen=True)
class TransformedImage:
    """What the network sees, uint8, as its transform has it, and what about the image makes it doubtful."""

    pixels: NDArray[np.uint8]
    warnings: tuple[str, ...]
    damage: tuple[str, ...] = ()  # what of the file is damaged, its pixels aside
    is_empty: bool = False  # whether all of it has one colour


@dataclass(frozen=True)
class ImageTransform:
    """The whole image, fitted by area onto a white square of `side` pixels, in 1 or 3 channels.

    A project's subclass may do otherwise. Raises ValueError for a size that it can't have.
    """

    side: int
    channels: int = 1

    name: ClassVar[str] = "plain"
    blank: ClassVar[int] = 255  # the grey level around an image
    # The grey level that comes in at the edge of an image that training shifts; None: the edge repeats.
    shifted_in: ClassVar[int | None] = None
    warnings: ClassVar[tuple[str, ...]] = (*EVERY, TOO_SMALL, STRANGE)  # that an answer can have, the doubt last

    def __post_init__(self) -> None:
        """Look at each field."""
        if self.channels not in {1, 3} or not LEAST_SIDE <= self.side <= MOST_SIDE:
            raise ValueError(f"no preparation {self.name} of {self.channels}x{self.side}x{self.side} pixels")

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], *others: "type[ImageTransform]") -> "ImageTransform":
        """The one that facts of a model or an artifact tell of: this one, or one of `others`.

        Raises ValueError for one that there is not.
        """
        name = facts.get("preparation", cls.name)
        try:
            side, channels = int(facts["side"]), int(facts.get("channels", 1))
        except OverflowError as error:
            raise ValueError(f"no preparation of such a size: {error}") from error
        for each in (cls, *others):
            if each.name == name:
                return each(side, channels)
        raise ValueError(f"no preparation {name}")

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        return {"preparation": self.name, "side": self.side, "channels": self.channels}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what a network's artifact is given for an image: (28, 28), in colour (3, 28, 28)."""
        square = (self.side, self.side)
        return square if self.channels == 1 else (self.channels, *square)

    @property
    def doubt(self) -> str:
        """What an answer warns of that is not sure enough."""
        return self.warnings[-1]

    def __call__(self, file: PictureFile) -> TransformedImage:
        """What a network sees of an image that `open_image` has read. Raises Unreadable for a damaged one."""
        side = self.side
        size = _scaled(file.width, file.size, side), _scaled(file.height, file.size, side)
        upright = decode(file, "RGB", 8 * side, lambda _: size)
        square = Image.new("RGB", (side, side), (self.blank,) * 3)
        square.paste(upright, ((side - upright.width) // 2, (side - upright.height) // 2))
        # Grey is made last, so that a grey image has the same levels in a grey set as in one of colours.
        pixels = np.asarray(square.convert("L")) if self.channels == 1 else np.moveaxis(np.asarray(square), 2, 0)
        extremes: Any = upright.getextrema()  # a pair for each channel
        empty = all(highest - lowest <= EMPTY for lowest, highest in extremes)
        warnings = (TOO_SMALL,) if max(file.size) < side else ()
        return TransformedImage(np.ascontiguousarray(pixels), warnings, tuple(file.damage), empty)


def _scaled(edge: int, size: tuple[int, int], side: int) -> int:
    return max(1, round(edge * side / max(size)))
