"""The server side of any image classification: an image in, its category and the probability of each out. No torch."""

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samebench.core.command import UsageError
from samebench.core.text import is_line
from samebench.serving.problem import Problem
from samebench.serving.samples import Arrays, Sample
from samebench.serving.serving import About, Example, Serving, Spec, TensorType, TensorTypes, data_address
from samebench.tasks.image_classification.decode_image import MAX_PIXELS, TooLarge, open_image
from samebench.tasks.image_classification.image_transform import NOTHING, OUTSIDE, STRANGE, TOO_SMALL, ImageTransform
from samebench.tasks.image_classification.picture_file import (
    CHECKSUM,
    CUT,
    METADATA,
    PROFILE,
    UNTURNED,
    Foreign,
    Unreadable,
)

PICTURES = ("image/png", "image/jpeg", "image/webp")
ADVICE = {
    NOTHING: "All of it has one colour, or it is transparent: there is nothing to tell a category by.",
    OUTSIDE: "Much lighter, darker or of other colours than all that I have learned from.",
    CUT: "The end of the file is missing; its pixels are there.",
    CHECKSUM: "A checksum in the file is wrong; some pixels may be, too.",
    METADATA: "What the file says beside its pixels is damaged, and was ignored.",
    UNTURNED: "The file does not say clearly which side is up: it was not turned.",
    PROFILE: "The colour profile can't be read: colours may be a little off.",
    TOO_SMALL: "Very small: go nearer.",
    STRANGE: "This is probably none of the things that I know.",
}
IMAGES, PROBABILITIES = "images", "probabilities"  # what the graph takes and gives
LEVELS = "levels"  # in the spec, the lowest and the highest level of the training pixels in each channel
OUTSIDE_BY, OUTSIDE_SHARE = 25, 0.01  # an image is outside if 1 % of its pixels are 25 levels outside of these
DIGITS = 6  # of a probability in an answer: a float32 has no more that mean something
MAX_LABELS, LONGEST_LABEL = 10_000, 255  # an answer and the metrics tell of each


class ImageClassificationServing(Serving):
    """Its spec: `labels`, `confidence_floor`, the transform's facts, and `levels` where they are not 0 and 255."""

    media_types = (*PICTURES, "image/*", "application/octet-stream")
    light_work = 256 * 256  # pixels
    transforms: tuple[type[ImageTransform], ...] = ()  # beside the plain one

    def work(self, body: bytes, media_type: str) -> int:
        """Its pixels."""
        with _problems():
            file = open_image(body)
        return file.width * file.height

    def decode(self, body: bytes, media_type: str, spec: Spec) -> Example:
        """The pixels that the network sees. The file's content says which format it has, and not `media_type`."""
        with _problems():
            image = self.transform(spec)(open_image(body))
        warnings = {
            NOTHING: image.is_empty,
            **dict.fromkeys(image.damage, True),
            OUTSIDE: is_outside(image.pixels, spec[LEVELS]),
            **dict.fromkeys(image.warnings, True),
        }
        return Example({IMAGES: image.pixels}, [warning for warning, is_so in warnings.items() if is_so])

    def encode(self, outputs: Arrays, example: Example, spec: Spec) -> dict[str, Any]:
        """Category, confidence, all probabilities and warnings. Probabilities have DIGITS digits."""
        exact, labels = outputs[PROBABILITIES].astype(np.float64), spec["labels"]
        best = int(exact.argmax())
        doubt = [self.transform(spec).doubt] if exact[best] < spec["confidence_floor"] else []
        probabilities = exact.round(DIGITS).tolist()
        return {
            "category": labels[best],
            "confidence": probabilities[best],
            "probabilities": dict(zip(labels, probabilities, strict=True)),
            "warnings": [*example.warnings, *doubt],
        }

    def answer_schema(self, spec: Spec) -> dict[str, Any]:
        """See Serving."""
        transform, labels = self.transform(spec), list(spec["labels"])
        share = {"type": "number", "minimum": 0, "maximum": 1}
        probabilities = {"type": "object", "properties": dict.fromkeys(labels, share), "required": labels}
        seen = f"{transform.side}x{transform.side} PNG as a data: address."
        return {
            "properties": {
                "category": {"type": "string", "enum": labels},
                "confidence": share,
                "probabilities": {**probabilities, "additionalProperties": False},
                "warnings": {"type": "array", "items": {"type": "string", "enum": list(transform.warnings)}},
                "seen": {"type": "string", "description": seen},
            },
            "required": ["category", "confidence", "probabilities", "warnings"],
            "additionalProperties": False,
        }

    def about(self, spec: Spec) -> About:
        """See Serving."""
        return About(
            name="Picture classifier",
            summary="A picture in, its category and the confidence in it out.",
            limits=f"PNG, JPEG or WebP, at most {MAX_PIXELS // 1_000_000} million pixels",
            title="Which of these is it?",
            hint="One thing in a picture works best.",
            advice=ADVICE,
            examples="pictures",
            form="image",
        )

    def classes(self, spec: Spec) -> Sequence[str]:
        """The labels."""
        labels: Sequence[str] = spec["labels"]
        return labels

    def seen(self, example: Example, spec: Spec) -> str:
        """A PNG."""
        return data_address(_png(example.inputs[IMAGES]), PICTURES[0])

    def sample_body(self, sample: Sample, spec: Spec) -> bytes:
        """A PNG."""
        return _png(sample.inputs[IMAGES])

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


@contextmanager
def _problems() -> Iterator[None]:
    """Raise Problem for a picture that can't be read."""
    try:
        yield
    except Unreadable as reason:
        raise Problem({Foreign: 415, TooLarge: 413}.get(type(reason), 422), str(reason)) from reason


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """The file of an image (H, W), or (3, H, W) in colour."""
    content = io.BytesIO()
    Image.fromarray(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, 2)).save(content, "PNG")
    return content.getvalue()


def is_outside(pixels: NDArray[np.uint8], levels: Sequence[tuple[int, int]]) -> bool:
    """Whether an image (H, W), in colour (3, H, W), has levels far from all that the training pixels have."""
    channels = pixels.reshape(-1, *pixels.shape[-2:])
    for channel, (low, high) in zip(channels, levels, strict=False):
        outside = (channel < low - OUTSIDE_BY) | (channel > high + OUTSIDE_BY)
        if np.count_nonzero(outside) / outside.size > OUTSIDE_SHARE:
            return True
    return False


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
