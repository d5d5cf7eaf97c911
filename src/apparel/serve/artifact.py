"""An artifact as the server holds it: checked against its hash, then asked.

An artifact is a folder: `model.onnx`, with preprocessing, softmax and temperature inside the graph; `samples.json`, an
image of each category, whose hash is in the model; `model.onnx.sha256`, the hashes of both as sha256sum writes them;
`card.md`, for people. Somebody else may have made it.
"""

import base64
import hashlib
import os
import time
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from apparel.serve.garment import transform_from_dict
from samebench.core.command import UsageError
from samebench.core.untrusted import parse_json, read_bytes
from samebench.tasks.image_classification.image_transform import ImageTransform

if TYPE_CHECKING:
    import onnxruntime

MODEL, SAMPLES, SEAL, CARD = "model.onnx", "samples.json", "model.onnx.sha256", "card.md"
IMAGES, PROBABILITIES = "images", "probabilities"  # what the graph takes and gives
FACTS = "samebench"  # the name of our metadata inside the model
SAMPLES_SHA256 = "samples_sha256"  # in it, the hash of samples.json
LEVELS = "levels"  # in it, the lowest and the highest level of the training pixels in each channel, 0 and 255 without
OUTSIDE_BY, OUTSIDE_SHARE = 25, 0.01  # a picture is outside where 1 % of its pixels are 25 levels outside of these
MAX_SAMPLES_BYTES = 32 << 20  # of samples.json: export writes at most two thirds of it
MAX_LABELS, LONGEST_LABEL = 10_000, 255  # an answer and the metrics tell of each
STEERING = {"Cc", "Cs", "Zl", "Zp"}  # Unicode's categories of control characters and ends of lines
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # its classes of bidirectional controls
BATCH_PIXELS = (
    1 << 18
)  # of samples that are asked at once: three of the largest in colour, more take memory for nothing


@dataclass(frozen=True)
class Artifact:
    """A model that can be asked, and what it is."""

    session: "onnxruntime.InferenceSession"
    labels: tuple[str, ...]
    preparation: ImageTransform  # of the pictures that it is asked about
    floor: float  # below this confidence it is probably none of them
    sha256: str
    facts: dict[str, Any]  # run, weights_sha256, data_version, lock, figures
    sample_labels: tuple[str, ...]
    sample_images: NDArray[np.uint8]  # (N, H, W), in colour (N, 3, H, W)
    levels: tuple[tuple[int, int], ...] = ()  # lowest and highest of the training pixels in each channel; all if empty

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The artifact in `folder`. Raises UsageError for a missing, damaged or foreign one, the first two unparsed."""
        return cls.of(_checked(folder), _samples(folder), folder / MODEL)

    @classmethod
    def of(cls, content: bytes, samples: bytes, path: Path) -> Self:
        """The artifact whose model is `content`, which is or will be at `path`, and whose samples.json is `samples`."""
        # Unless this is set before it is loaded, it numbers the machine and reports to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the work of one image is too small to share
        options.enable_cpu_mem_arena = False  # it keeps what the largest request took; without it nothing is slower
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            facts = parse_json(session.get_modelmeta().custom_metadata_map[FACTS], where=path)
            _check_hash(samples, facts.pop(SAMPLES_SHA256, None), path.with_name(SAMPLES))
            labels, preparation = _labels(facts.pop("labels")), transform_from_dict(facts)
            floor = _check_facts(facts, float(facts.pop("confidence_floor")))
            levels = _check_levels(facts.pop(LEVELS, []), preparation.channels)
            _check_graph(session, preparation, len(labels))
            names, images = _parsed(samples, preparation, labels, path.with_name(SAMPLES))
            sha256 = hashlib.sha256(content).hexdigest()
            return cls(session, labels, preparation, floor, sha256, facts, names, images, levels)
        except UsageError:
            raise
        except Exception as error:  # onnxruntime's errors have no common ancestor
            raise UsageError(f"{path}: its hash is right and its content is not ours; export it anew") from error

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, labels) for images (N, H, W), in colour (N, 3, H, W), as its preparation makes them."""
        (probabilities,) = self.session.run([PROBABILITIES], {IMAGES: images})
        return np.asarray(probabilities, dtype=np.float32)

    def is_outside(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether a picture (H, W), in colour (3, H, W), has levels far from all that the training pixels have."""
        channels = pixels.reshape(-1, *pixels.shape[-2:]).astype(int)
        return any(
            float(((channel < low - OUTSIDE_BY) | (channel > high + OUTSIDE_BY)).mean()) > OUTSIDE_SHARE
            for channel, (low, high) in zip(channels, self.levels, strict=False)
        )

    def samples(self) -> tuple[list[str], NDArray[np.uint8]]:
        """An image of each category that it knows how to tell: labels, and images as `predict` takes them."""
        return list(self.sample_labels), self.sample_images

    def check(self, places: Sequence[int] | None = None, *, seconds: float = float("inf")) -> int:
        """Ask about the samples at `places`, or all, for so long at most; how many were asked, at least one.

        Raises UsageError where it does not say of one what it said when it was made.
        """
        places = range(len(self.sample_labels)) if places is None else places
        size = max(1, BATCH_PIXELS // int(np.prod(self.preparation.shape)))
        latest, count = time.monotonic() + seconds, 0
        while count < len(places) and (not count or time.monotonic() < latest):
            batch = list(places[count : count + size])
            self._check_batch([self.sample_labels[place] for place in batch], self.sample_images[batch])
            count += len(batch)
        return count

    def _check_batch(self, expected: list[str], images: NDArray[np.uint8]) -> None:
        probabilities = self.predict(images)
        got = [self.labels[place] for place in probabilities.argmax(1)]
        if got != expected or not np.isfinite(probabilities).all():
            raise UsageError(f"artifact: its samples are {expected}, and it takes them for {got}; export it anew")


def _checked(folder: Path) -> bytes:
    model, seal = folder / MODEL, folder / SEAL
    if not (model.is_file() and seal.is_file()):
        raise UsageError(f"{folder}: no artifact there; make one: make export")
    content, expected = model.read_bytes(), seal.read_text(errors="replace")[:LONGEST_LABEL].split(" ")[0]
    if (got := hashlib.sha256(content).hexdigest()) != expected:
        raise UsageError(
            f"{model}: damaged, expected sha256 {expected}, got {got}; nothing in it was read; export anew"
        )
    return content


def _samples(folder: Path) -> bytes:
    try:
        return read_bytes(folder / SAMPLES, max_bytes=MAX_SAMPLES_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: no {SAMPLES}, as of an older export; make it anew: make export") from error


def _check_hash(samples: bytes, expected: object, path: Path) -> None:
    if not isinstance(expected, str):
        raise TypeError("it names no samples")
    if hashlib.sha256(samples).hexdigest() != expected:
        raise UsageError(f"{path}: not the samples of the model beside it; make both anew: make export")


def _labels(told: Any) -> tuple[str, ...]:
    if not isinstance(told, list) or not 1 <= len(told) <= MAX_LABELS or len({*told}) != len(told):
        raise UsageError(f"artifact: its labels are not from 1 to {MAX_LABELS:,} different ones; take another")
    for label in told:
        if not (isinstance(label, str) and 0 < len(label) <= LONGEST_LABEL and not any(map(_steers, label))):
            raise UsageError(f"artifact: the label {str(label)[:80]!a} is no line of text; take another")
    return tuple(told)


def _steers(letter: str) -> bool:
    """Whether it steers a terminal or the order of letters; what joins letters, as Persian needs it, does not."""
    return unicodedata.category(letter) in STEERING or unicodedata.bidirectional(letter) in TURNING


def _check_facts(facts: dict[str, Any], floor: float) -> float:
    texts = [facts["run"], facts["weights_sha256"], facts["data_version"], *facts["locks"], *facts["locks"].values()]
    if not all(isinstance(text, str) for text in texts) or not 0 <= floor <= 1:
        raise ValueError("a fact has the wrong type")
    return floor


def _check_levels(told: Any, channels: int) -> tuple[tuple[int, int], ...]:
    """The levels of each channel, or none. Raises ValueError or TypeError for impossible ones."""
    levels = tuple((int(low), int(high)) for low, high in told)
    if len(levels) not in {0, channels} or not all(0 <= low <= high <= 255 for low, high in levels):
        raise ValueError(f"levels {levels} of {channels} channels")
    return levels


def _check_graph(session: "onnxruntime.InferenceSession", preparation: ImageTransform, labels: int) -> None:
    (images,), (probabilities,) = session.get_inputs(), session.get_outputs()
    if (images.name, images.type, tuple(images.shape[1:])) != (IMAGES, "tensor(uint8)", preparation.shape):
        raise ValueError("it takes other images than it says")
    if (probabilities.name, probabilities.type, probabilities.shape[1:]) != (PROBABILITIES, "tensor(float)", [labels]):
        raise ValueError("it has not as many probabilities as labels")


def _parsed(
    content: bytes, preparation: ImageTransform, labels: Iterable[str], path: Path
) -> tuple[tuple[str, ...], NDArray[np.uint8]]:
    told = parse_json(content, where=path)["samples"]
    pixels = b"".join(base64.b64decode(each["pixels"], validate=True) for each in told)
    names = tuple(each["label"] for each in told)
    if not {*names} <= {*labels}:
        raise ValueError("samples of other categories")
    images = np.frombuffer(pixels, dtype=np.uint8).reshape(len(names), *preparation.shape)
    return names, images
