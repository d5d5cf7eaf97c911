"""The page: one file, with the artifact's samples in it."""

import base64
import hashlib
import io
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apparel.serving import SERVING
from samebench.serving.artifact import Artifact
from samebench.serving.samples import spread

SOURCE = Path(__file__).with_name("page.html")
PLACE = '"FACTS"'  # where in it the artifact's facts go
SAMPLES = 20  # that it shows, spread over the categories: one of 256x256 pixels in colour has 200 kB
WORDS = {  # what of the page is said otherwise, by the preparation
    "garment": {},
    "plain": {
        "Which garment is it?": "Which of these is it?",
        "One garment on a plain background": "One thing in a picture",
    },
}


def page(artifact: Artifact) -> tuple[bytes, str]:
    """The page, and the content security policy that allows its own script and style and nothing else."""
    source = SOURCE.read_text()
    policy = (
        f"default-src 'none'; script-src {_allowed(source, 'script')}; style-src {_allowed(source, 'style')}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    shown = [artifact.samples[place] for place in spread(len(artifact.samples), 0, SAMPLES)]
    samples = [{"label": each.title, "picture": address(each.inputs["images"])} for each in shown]
    preparation = SERVING.transform(artifact.spec)
    told = {"run": artifact.facts["run"], "samples": samples, "preparation": preparation.name, "side": preparation.side}
    for garment, other in WORDS[preparation.name].items():
        source = source.replace(garment, other)
    return source.replace(PLACE, json.dumps(told).replace("<", "\\u003c")).encode(), policy


def address(pixels: NDArray[np.uint8]) -> str:
    """A picture (H, W), or (3, H, W) in colour, as an address that a page can show."""
    content = io.BytesIO()
    Image.fromarray(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, 2)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _allowed(source: str, element: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", source, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
