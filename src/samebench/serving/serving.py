"""The server side of a project: a request's body becomes arrays, and the model's outputs become an answer.

A project's `serving.py` has `SERVING`, an instance of a subclass of Serving. Nothing here needs torch. The arrays of
one example have no batch dimension. `spec` is what the artifact has of the data: labels, shapes, statistics.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from samebench.serving.samples import Arrays, Sample

Spec = Mapping[str, Any]
TOLERANCE = 1e-4  # how far an output may lie from the recorded one, absolutely and relative to it


class TensorType(NamedTuple):
    """What a graph takes or gives by a name, without the batch dimension; None: any size."""

    dtype: str
    shape: tuple[int | None, ...]


TensorTypes = Mapping[str, TensorType]


@dataclass(frozen=True)
class Example:
    """What the graph is asked about: an array for each of its inputs, and what makes the answer doubtful."""

    inputs: Arrays
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class About:
    """What the page and the document say of a model. `form` is how the page asks; a path is an HTML file instead of it.

    A table's form has a field for each property of `body_schema`, and sends JSON.
    """

    name: str = "Model"
    summary: str = "An example in, the model's answer out."
    limits: str = ""  # of a body, beside its size: "PNG, at most 300 million pixels"
    title: str = "Ask the model"
    hint: str = ""  # what works best
    advice: Mapping[str, str] = field(default_factory=dict)  # by warning: what the page says
    examples: str = "examples"  # the plural, for the counter of answers by category in /metrics
    form: Literal["image", "text", "table"] | Path = "text"


def data_address(body: bytes, media_type: str) -> str:
    """A file as an address that a page can show."""
    return f"data:{media_type};base64,{base64.b64encode(body).decode()}"


class Serving(ABC):
    """How a project's model is asked. Every method is pure."""

    media_types: Sequence[str]  # of a body; the first one counts where a request names none. image/*: any image
    # A request with more work than this is worked on in a thread; so is one on which the graph takes some milliseconds.
    light_work = 0

    @abstractmethod
    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        """What the graph takes. Raises Problem with 413, 415 or 422 for a body that can't be used."""

    @abstractmethod
    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        """The answer, as JSON. The server adds the example's `warnings` to one without."""

    @abstractmethod
    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        """The JSON schema of an answer, an object."""

    def body_schema(self, spec: Spec) -> dict[str, Any]:
        """The JSON schema of a body; bytes by default."""
        return {"type": "string", "format": "binary", "minLength": 1}

    def work(self, body: bytes, media_type: str) -> int:
        """How much work `decode` has, in any unit, at little cost; none by default. Raises Problem as `decode` does."""
        return 0

    def about(self, spec: Spec) -> About:
        """What the page and the document say."""
        return About()

    def classes(self, spec: Spec) -> Sequence[str]:
        """What the `category` of an answer can be, if it has one: /metrics counts the answers of each."""
        return ()

    def seen(self, example: Example, spec: Spec) -> str | None:
        """What the network sees of an example, as a data: address, for a request with ?seen."""
        return None

    def sample_body(self, sample: Sample, spec: Spec) -> bytes | None:
        """A body of the first media type that is decoded to a sample, for the page; None: the page shows no samples."""
        return None

    def check_spec(self, spec: Spec) -> Spec:
        """The spec in an artifact, which may be a stranger's.

        Raises UsageError, LookupError, TypeError or ValueError if it is none.
        """
        return spec

    def graph_types(self, spec: Spec) -> tuple[TensorTypes, TensorTypes] | None:
        """What a graph must take and give, so that it fits `decode` and `encode`; None: anything."""
        return None

    def read_first_edition_sample(self, entry: Mapping[str, Any], spec: Spec) -> Sample:
        """A sample of the first edition, which has no recorded outputs. Raises ValueError: only the pilot has such."""
        raise ValueError("it has no inputs")

    def matches(self, sample: Sample, outputs: Arrays, spec: Spec) -> bool:
        """Whether the model's outputs on a sample are the recorded ones."""
        return all(
            np.allclose(outputs[name], recorded, rtol=TOLERANCE, atol=TOLERANCE)
            for name, recorded in sample.outputs.items()
        )
