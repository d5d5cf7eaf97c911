"""The server side of any text classification: a text in, its class and the probability of each out. No torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from samebench.core.text import is_line
from samebench.serving.samples import Arrays
from samebench.serving.serving import About, Example, Serving, Spec, TensorType, TensorTypes
from samebench.tasks.text_classification.tokens import tokenize

EMPTY = "no word in it"
MOST_LABELS, LONGEST_LABEL = 10_000, 255
MOST_BUCKETS, MOST_TOKENS = 1 << 20, 4096


class TextClassificationServing(Serving):
    """A text, at most `length` words of which count."""

    media_types = ("text/plain",)

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        """The tokens of a text; what is no UTF-8 in it is no word."""
        tokens = tokenize(body.decode(errors="replace"), buckets=spec["buckets"], length=spec["length"])
        return Example({"tokens": np.array(tokens, np.int32)}, [] if any(tokens) else [EMPTY])

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        """The likeliest class, and the probability of each."""
        shares = dict(zip(spec["labels"], outputs["probabilities"].tolist(), strict=True))
        return {"category": max(shares, key=lambda label: shares[label]), "probabilities": shares}

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        """An object of both."""
        share = {"type": "number", "minimum": 0, "maximum": 1}
        probabilities = {"type": "object", "additionalProperties": share}
        category = {"enum": list(spec["labels"])}
        return {"type": "object", "properties": {"category": category, "probabilities": probabilities}}

    def about(self, spec: Spec) -> About:
        """The page asks for a text."""
        return About(title="What kind of text is it?")

    def classes(self, spec: Spec) -> Sequence[str]:
        """The labels."""
        return list(spec["labels"])

    def check_spec(self, spec: Spec) -> Spec:
        """Labels and sizes."""
        return check_spec(spec)

    def graph_types(self, spec: Spec) -> tuple[TensorTypes, TensorTypes]:
        """Tokens, and the probability of each label."""
        tokens = TensorType("int32", (spec["length"],))
        return {"tokens": tokens}, {"probabilities": TensorType("float32", (len(spec["labels"]),))}


def check_spec(spec: Spec) -> dict[str, Any]:
    """Labels and sizes of a spec. Raises LookupError, TypeError or ValueError for impossible ones."""
    labels, buckets, length = list(spec["labels"]), int(spec["buckets"]), int(spec["length"])
    if not 1 <= len(labels) <= MOST_LABELS or not all(is_line(label, longest=LONGEST_LABEL) for label in labels):
        raise ValueError(f"its labels are not 1 to {MOST_LABELS:,} lines of text")
    if len(set(labels)) < len(labels) or not (2 <= buckets <= MOST_BUCKETS and 1 <= length <= MOST_TOKENS):
        raise ValueError("a label is there twice, or its tokens are impossible")
    return {"labels": labels, "buckets": buckets, "length": length}
