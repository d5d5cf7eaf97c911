"""The server side of any image classification: an image in, its category and the probability of each out. No torch."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samebench.core.command import UsageError
from samebench.core.text import is_line
from samebench.serving.samples import Arrays, Sample
from samebench.serving.serving import Serving, Spec, TensorType, TensorTypes
from samebench.tasks.image_classification.image_transform import ImageTransform

IMAGES, PROBABILITIES = "images", "probabilities"  # what the graph takes and gives
LEVELS = "levels"  # in the spec, the lowest and the highest level of the training pixels in each channel
OUTSIDE_BY, OUTSIDE_SHARE = 25, 0.01  # an image is outside if 1 % of its pixels are 25 levels outside of these
MAX_LABELS, LONGEST_LABEL = 10_000, 255  # an answer and the metrics tell of each


class ImageClassificationServing(Serving):
    """Its spec: `labels`, `confidence_floor`, the transform's facts, and `levels` where they are not 0 and 255."""

    transforms: tuple[type[ImageTransform], ...] = ()  # beside the plain one

    def transform(self, spec: Spec) -> ImageTransform:
        """How an image becomes pixels. Raises ValueError for an impossible spec."""
        return ImageTransform.from_dict(spec, *self.transforms)

    def check_spec(self, spec: Spec) -> Spec:
        """See Serving."""
        transform, floor = self.transform(spec), float(spec["confidence_floor"])
        if not 0 <= floor <= 1:
            raise ValueError(f"a confidence of {floor}")
        levels = _check_levels(spec.get(LEVELS, []), transform.channels)
        labels = {"labels": _check_labels(spec["labels"])}
        return {**labels, "confidence_floor": floor, LEVELS: levels, **transform.to_dict()}

    def graph_types(self, spec: Spec) -> tuple[TensorTypes, TensorTypes]:
        """Images as the transform makes them, and a probability of each label."""
        shape, count = self.transform(spec).shape, len(spec["labels"])
        return {IMAGES: TensorType("uint8", shape)}, {PROBABILITIES: TensorType("float32", (count,))}

    def read_first_edition_sample(self, entry: Mapping[str, Any], spec: Spec) -> Sample:
        """An image with its label. Raises LookupError, TypeError or ValueError for an impossible one."""
        pixels = np.frombuffer(base64.b64decode(entry["pixels"], validate=True), np.uint8)
        if entry["label"] not in spec["labels"]:
            raise ValueError("a sample of a different category")
        return Sample(entry["label"], {IMAGES: pixels.reshape(self.transform(spec).shape)}, {})

    def matches(self, sample: Sample, outputs: Arrays, spec: Spec) -> bool:
        """The recorded probabilities; of a sample of the first edition, its label."""
        label = spec["labels"][int(outputs[PROBABILITIES].argmax())]
        return super().matches(sample, outputs, spec) and (bool(sample.outputs) or label == sample.title)


def is_outside(pixels: NDArray[np.uint8], levels: Sequence[tuple[int, int]]) -> bool:
    """Whether an image (H, W), in colour (3, H, W), has levels far from all that the training pixels have."""
    channels = pixels.reshape(-1, *pixels.shape[-2:]).astype(int)
    return any(
        float(((channel < low - OUTSIDE_BY) | (channel > high + OUTSIDE_BY)).mean()) > OUTSIDE_SHARE
        for channel, (low, high) in zip(channels, levels, strict=False)
    )


def _check_labels(labels: Any) -> tuple[str, ...]:
    if not isinstance(labels, list) or not 1 <= len(labels) <= MAX_LABELS or len({*labels}) != len(labels):
        raise UsageError(f"artifact: its labels are not from 1 to {MAX_LABELS:,} different ones; take another")
    for label in labels:
        if not is_line(label, longest=LONGEST_LABEL):
            raise UsageError(f"artifact: the label {str(label)[:80]!a} is no line of text; take another")
    return tuple(labels)


def _check_levels(pairs: Any, channels: int) -> tuple[tuple[int, int], ...]:
    levels = tuple((int(low), int(high)) for low, high in pairs)
    if len(levels) not in {0, channels} or not all(0 <= low <= high <= 255 for low, high in levels):
        raise ValueError(f"levels {levels} of {channels} channels")
    return levels
