"""Small pictures of three classes, as people have them in folders."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

# What undoes an orientation of EXIF, where doing it twice does not.
UNDONE = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
CLASSES = ("circle", "square", "triangle")


def drawn(label: str, number: int, *, colour: bool = True, size: int = 64) -> Image.Image:
    """A shape of a class on a light ground, every number another one."""
    rng = np.random.default_rng([CLASSES.index(label), number])
    ground, ink = rng.integers(180, 256, 3), rng.integers(0, 120, 3)
    ink[CLASSES.index(label)] = 160
    image = Image.new("RGB", (size, size + number % 7), tuple(ground.tolist()))
    left, top = (size // 8 + rng.integers(0, size // 8, 2)).tolist()
    box = (left, top, left + size // 2, top + size // 2)
    draw, fill = ImageDraw.Draw(image), tuple(ink.tolist())
    if label == "circle":
        draw.ellipse(box, fill=fill)
    elif label == "square":
        draw.rectangle(box, fill=fill)
    else:
        draw.polygon([(box[0], box[3]), (box[2], box[3]), ((box[0] + box[2]) // 2, box[1])], fill=fill)
    return image if colour else image.convert("L")


def boot(*, size: tuple[int, int] = (300, 400), at: tuple[int, int] = (60, 90), scale: float = 1.0) -> Image.Image:
    """A dark shape like an ankle boot, with a light lace, on white; not the same turned or mirrored."""
    drawn = Image.new("L", size, 255)
    outline = [(0, 0), (70, 0), (75, 80), (170, 120), (175, 150), (0, 150)]
    ImageDraw.Draw(drawn).polygon([(at[0] + x * scale, at[1] + y * scale) for x, y in outline], fill=60)
    ImageDraw.Draw(drawn).line(
        [(at[0] + 10 * scale, at[1] + 40 * scale), (at[0] + 60 * scale, at[1] + 40 * scale)], 160, 8
    )
    return drawn


def quarters(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Red, green, blue and black."""
    drawn, (width, height) = Image.new("RGB", size), size
    for place, colour in (((0, 0), "red"), ((width // 2, 0), "lime"), ((0, height // 2), "blue")):
        drawn.paste(Image.new("RGB", (width // 2, height // 2), colour), place)
    return drawn


def folder(
    at: Path, count: int, *, first: int = 0, kinds: Sequence[str] = ("png", "jpg", "webp"), **options: Any
) -> Path:
    """`count` pictures of each class in `at`, of each kind in turn."""
    for label in CLASSES:
        (at / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            drawn(label, number, **options).save(at / label / f"{number:05}.{kinds[number % len(kinds)]}")
    return at


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file that a picture would be."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
