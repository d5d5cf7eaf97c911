"""What schemathesis sends where the document only says that it is bytes: pictures, as small as they come."""

import io
from functools import partial
from typing import Any

import numpy as np
import schemathesis
from hypothesis import strategies
from PIL import Image


def picture(seed: int, width: int, height: int, mode: str, *, kind: str) -> bytes:
    """The file of a picture that is all noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(content, kind)
    return content.getvalue()


def pictures(kind: str) -> Any:
    side = strategies.integers(1, 80)
    modes = strategies.sampled_from(["L", "RGB", "CMYK"] if kind == "JPEG" else ["L", "RGB", "RGBA", "P", "LA", "1"])
    return strategies.builds(partial(picture, kind=kind), strategies.integers(0, 2**32), side, side, modes)


KINDS = {f"image/{kind.lower()}": pictures(kind) for kind in ("PNG", "JPEG", "WEBP")}
for name, strategy in KINDS.items():
    schemathesis.openapi.media_type(name, strategy)
schemathesis.openapi.media_type("application/octet-stream", strategies.one_of(*KINDS.values()))
