"""The server side: a synopsis in, its section and the probability of each out. Training makes tokens with it, too."""

import re
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from samebench.serving.samples import Arrays
from samebench.serving.serving import About, Example, Serving, Spec

BUCKETS, LENGTH = 1 << 14, 24  # different words at most, and words of a text
WORD = re.compile(r"[^\W_]+|[^\w\s]")
EMPTY = "no word in it"


def tokenize(text: str, *, buckets: int = BUCKETS, length: int = LENGTH) -> list[int]:
    """The first `length` words of a text as numbers from 1 to `buckets` - 1, with zeros behind them."""
    words = WORD.findall(text.casefold())[:length]
    tokens = [1 + zlib.crc32(word.encode(errors="replace")) % (buckets - 1) for word in words]
    return tokens + [0] * (length - len(tokens))


class SectionsServing(Serving):
    """A text, at most `length` words of which count."""

    media_types = ("text/plain",)

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        """The tokens of a text; what is no UTF-8 in it is no word."""
        tokens = tokenize(body.decode(errors="replace"), buckets=spec["buckets"], length=spec["length"])
        return Example({"tokens": np.array(tokens, np.int32)}, [] if any(tokens) else [EMPTY])

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        """The likeliest section, and the probability of each."""
        shares = dict(zip(spec["labels"], outputs["probabilities"].tolist(), strict=True))
        return {"category": max(shares, key=lambda label: shares[label]), "probabilities": shares}

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        """An object of both."""
        share = {"type": "number", "minimum": 0, "maximum": 1}
        probabilities = {"type": "object", "additionalProperties": share}
        return {"type": "object", "properties": {"category": {"enum": spec["labels"]}, "probabilities": probabilities}}

    def about(self, spec: Spec) -> About:
        """The page asks for a text."""
        return About(name="Debian sections", title="Which section is a package in?", hint="One line about a package.")

    def classes(self, spec: Spec) -> Sequence[str]:
        """The sections."""
        return list(spec["labels"])


SERVING = SectionsServing()
