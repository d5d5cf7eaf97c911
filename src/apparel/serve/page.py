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

from apparel.serve.artifact import Artifact

SOURCE = Path(__file__).with_name("page.html")
PLACE = '"FACTS"'  # where in it the artifact's facts go


def page(artifact: Artifact) -> tuple[bytes, str]:
    """The page, and the content security policy that allows its own script and style and nothing else."""
    source = SOURCE.read_text()
    policy = (
        f"default-src 'none'; script-src {_allowed(source, 'script')}; style-src {_allowed(source, 'style')}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    samples = [{"label": label, "picture": address(image)} for label, image in zip(*artifact.samples(), strict=True)]
    facts = json.dumps({"run": artifact.facts["run"], "samples": samples}).replace("<", "\\u003c")
    return source.replace(PLACE, facts).encode(), policy


def address(pixels: NDArray[np.uint8]) -> str:
    """A picture (28, 28) as an address that a page can show."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _allowed(source: str, element: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", source, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
