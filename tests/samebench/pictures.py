"""Small pictures of three classes, as people have them in folders."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

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
