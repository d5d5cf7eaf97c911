"""The page: one file, with the artifact's samples in it."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path

from samebench.serving.artifact import Artifact
from samebench.serving.samples import spread
from samebench.serving.serving import data_address

SOURCE = Path(__file__).with_name("page.html")
FACTS, TITLE, HINT = '"FACTS"', "TITLE", "HINT"  # where in it what the artifact and the project say goes
SAMPLES = 20  # that it shows, spread over all: an image of 256x256 pixels in colour has 200 kB


def page(artifact: Artifact) -> tuple[bytes, str]:
    """The page, and the content security policy that allows its own script and style and nothing else."""
    serving, spec = artifact.serving, artifact.spec
    about = serving.about(spec)
    form = about.form if isinstance(about.form, str) else "own"
    source = (SOURCE if isinstance(about.form, str) else about.form).read_text()
    policy = (
        f"default-src 'none'; script-src {_csp_hash(source, 'script')}; style-src {_csp_hash(source, 'style')}; "
        "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    facts = {
        "run": artifact.facts["run"],
        "form": form,
        "media_type": serving.media_types[0],
        "fields": serving.body_schema(spec).get("properties", {}),
        "advice": dict(about.advice),
        "samples": _samples(artifact),
    }
    for name, text in ((TITLE, about.title), (HINT, about.hint)):
        source = source.replace(name, html.escape(text))
    return source.replace(FACTS, json.dumps(facts).replace("<", "\\u003c")).encode(), policy


def _samples(artifact: Artifact) -> list[dict[str, str]]:
    """Titles, and bodies as data: addresses."""
    serving, samples = artifact.serving, []
    for place in spread(len(artifact.samples), 0, SAMPLES):
        sample = artifact.samples[place]
        if body := serving.sample_body(sample, artifact.spec):
            samples.append({"title": sample.title, "body": data_address(body, serving.media_types[0])})
    return samples


def _csp_hash(source: str, element: str) -> str:
    (content,) = re.findall(rf"<{element}>(.*?)</{element}>", source, re.DOTALL)
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
