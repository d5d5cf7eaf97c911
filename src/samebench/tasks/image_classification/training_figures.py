"""What a network on its way takes for what, as pictures for TensorBoard.

Drawn with Pillow: matplotlib takes more than a second to load, and every training would wait for it.
"""

import io
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont
from torch import Tensor

from samebench.tasks.image_classification.image_data import Split
from samebench.tasks.image_classification.inspection import confusion, worst
from samebench.training.palette import BLUE, INK

COLUMNS, ROWS = 6, 3  # of the gallery
SIDE = 84  # pixels of an image in it
SPACE = 420  # pixels for the cells of a matrix, as many as there are,
LEAST, LARGEST = 8, 1000  # pixels of one of them, and of all
SMALL, LARGE = 11, 13  # pixels a line of text


def draw(split: Split, probabilities: Tensor, names: Sequence[str]) -> dict[str, bytes]:
    """PNGs by name, of what the network thinks (N, categories) of the images that it has seen."""
    predicted = probabilities.argmax(1)
    matrix = confusion(split.labels, predicted, categories=len(names))
    right = float(matrix.diagonal().sum() / matrix.sum())
    title = f"{right:.2%} of {len(split):,} validation images right; each row in % of its category"
    return {
        "confusion_matrix": draw_matrix(matrix, names, title=title),
        "worst_mistakes": draw_mistakes(split, probabilities, names),
    }


def draw_matrix(matrix: Tensor, names: Sequence[str], *, title: str) -> bytes:
    """A confusion matrix (categories, categories): true categories downwards, predicted ones to the right.

    Where the categories are many the figures go, and then their names.
    """
    shares = matrix.float() / matrix.sum(1, keepdim=True).clamp_min(1)
    cell = max(LEAST, SPACE // len(names))
    left, top, side = 110, 30, min(cell * len(names), LARGEST)
    picture = Image.new("RGB", (left + side + 10, top + side + 100), "white")
    pixels = torch.arange(side) * len(names) // side
    picture.paste(Image.fromarray(_shades(shares[pixels][:, pixels])), (left, top))
    at = ImageDraw.Draw(picture)
    at.text((8, 8), title, INK, _font(LARGE))
    if cell * len(names) > LARGEST:
        return _png(picture)
    for place, name in enumerate(map(_short, names)):
        middle, end = place * cell + cell / 2, (place + 1) * cell - 1
        at.line((left, top + end, left + side, top + end), "white")
        at.line((left + end, top, left + end, top + side), "white")
        at.text((left - 6, top + middle), name, INK, _font(min(SMALL, cell)), anchor="rm")
        _upright(picture, name, at=(int(left + middle), top + side + 4), size=min(SMALL, cell))
    for row, line in enumerate(shares.tolist() if cell >= 36 else []):
        for column, share in enumerate(line):
            text, colour = f"{100 * share:.1f}" if share else "0", "white" if share > 0.3 else INK
            middles = (left + (column + 0.5) * cell - 1, top + (row + 0.5) * cell - 1)
            at.text(middles, text, colour, _font(SMALL), anchor="mm")
    return _png(picture)


def draw_mistakes(split: Split, probabilities: Tensor, names: Sequence[str]) -> bytes:
    """The most confident mistakes, each under its label, and what it was taken for with what confidence."""
    wrong = worst(probabilities, split.labels)
    chosen = wrong[: COLUMNS * ROWS]
    wide, tall = SIDE + 28, SIDE + 3 * SMALL + 10
    picture = Image.new("RGB", (COLUMNS * wide + 8, ROWS * tall + 34), "white")
    at = ImageDraw.Draw(picture)
    at.text((8, 8), f"The most confident of {len(wrong):,} mistakes: label > prediction", INK, _font(LARGE))
    confidence, predicted = probabilities[chosen].max(1)
    items = zip(split.images[chosen], split.labels[chosen], predicted, confidence, strict=True)
    for place, (image, label, guess, sure) in enumerate(items):
        x, y = 8 + place % COLUMNS * wide, 34 + place // COLUMNS * tall
        at.text(
            (x, y),
            f"{_short(names[label])}\n> {_short(names[guess])} {sure:.0%}",
            INK,
            _font(SMALL),
            spacing=2,
        )
        picture.paste(_enlarged(image), (x, y + 2 * SMALL + 8))
    return _png(picture)


def _enlarged(image: Tensor) -> Image.Image:
    """An image (1 or 3, H, W) uint8, its pixels still to be seen."""
    pixels = image.permute(1, 2, 0).expand(-1, -1, 3).contiguous().numpy()
    return Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def _upright(picture: Image.Image, text: str, *, at: tuple[int, int], size: int) -> None:
    """Text read from below, its end at the middle of its line."""
    font = _font(size)
    strip = Image.new("RGB", (int(font.getlength(text)) + 2, size + 4), "white")
    ImageDraw.Draw(strip).text((0, 0), text, INK, font)
    picture.paste(strip.rotate(90, expand=True), (at[0] - (size + 4) // 2, at[1]))


def _shades(shares: Tensor) -> NDArray[np.uint8]:
    """Colours (rows, columns, 3) for shares from 0 to 1, from white to blue; the root shows the rare mistakes."""
    full = torch.tensor(ImageColor.getrgb(BLUE)[:3])
    return (255 + (full - 255) * shares.sqrt().unsqueeze(-1)).round().to(torch.uint8).numpy()


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}."


def _png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
