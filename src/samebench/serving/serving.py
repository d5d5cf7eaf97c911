"""The server side of a project: a request's body becomes arrays, and the model's outputs become an answer.

A project's `serving.py` has `SERVING`, an instance of a subclass of Serving. Nothing here needs torch. The arrays of
one example have no batch dimension. `spec` is what the artifact has of the data: labels, shapes, statistics.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from samebench.serving.samples import Arrays, Sample

Spec = Mapping[str, Any]
TOLERANCE = 1e-4  # how far an output may lie from the recorded one, absolutely and relative to it


class TensorType(NamedTuple):
    """What a graph takes or gives by a name, without the batch dimension; None: any size."""

    dtype: str
    shape: tuple[int | None, ...]


TensorTypes = Mapping[str, TensorType]


class Serving:
    """How a project's model is asked. Every method is pure."""

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
