"""An artifact as the server holds it: checked against its hash, then asked.

An artifact is a folder: `model.onnx`, with preprocessing, softmax and temperature inside the graph;
`model.onnx.sha256`, as sha256sum writes it; `card.md`, for people.
"""

import base64
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from apparel.serve.picture import Preparation
from samebench.command import Refusal

if TYPE_CHECKING:
    import onnxruntime

MODEL, SEAL, CARD = "model.onnx", "model.onnx.sha256", "card.md"
IMAGES, PROBABILITIES = "images", "probabilities"  # what the graph takes and gives
FACTS = "samebench"  # the name of our metadata inside the model


@dataclass(frozen=True)
class Artifact:
    """A model that can be asked, and what it is."""

    session: "onnxruntime.InferenceSession"
    labels: tuple[str, ...]
    preparation: Preparation  # of the pictures that it is asked about
    floor: float  # below this confidence it is probably none of them
    sha256: str
    facts: dict[str, Any]  # run, weights_sha256, data_version, lock, figures

    @classmethod
    def load(cls, folder: Path) -> Self:
        """The artifact in `folder`. Raises Refusal for a missing, damaged or foreign one, the first two unparsed."""
        return cls.of(_checked(folder), folder / MODEL)

    @classmethod
    def of(cls, content: bytes, path: Path) -> Self:
        """The artifact whose model is `content`, which is or will be at `path`."""
        # Unless this is set before it is loaded, it numbers the machine and reports to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # the work of one image is too small to share
        options.enable_cpu_mem_arena = False  # it keeps what the largest request took; without it nothing is slower
        options.log_severity_level = 3  # errors
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            facts = json.loads(session.get_modelmeta().custom_metadata_map[FACTS])
            sha256 = hashlib.sha256(content).hexdigest()
            labels, preparation = tuple(facts.pop("labels")), Preparation.told(facts)
            return cls(session, labels, preparation, float(facts.pop("confidence_floor")), sha256, facts)
        except Exception as error:  # onnxruntime's errors have no common ancestor
            raise Refusal(f"{path}: its hash is right and its content is not ours; export it anew") from error

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities (N, labels) for images (N, H, W), in colour (N, 3, H, W), as its preparation makes them."""
        (probabilities,) = self.session.run([PROBABILITIES], {IMAGES: images})
        return np.asarray(probabilities, dtype=np.float32)

    def samples(self) -> tuple[list[str], NDArray[np.uint8]]:
        """An image of each category that it knows how to tell: labels, and images as `predict` takes them."""
        pixels = [base64.b64decode(each["pixels"]) for each in self.facts["samples"]]
        images = np.frombuffer(b"".join(pixels), dtype=np.uint8).reshape(-1, *self.preparation.shape)
        return [each["label"] for each in self.facts["samples"]], images

    def check(self) -> None:
        """Raise Refusal where it does not say of its samples what it said when it was made."""
        expected, images = self.samples()
        got = [self.labels[place] for place in self.predict(images).argmax(1)]
        if got != expected:
            raise Refusal(f"artifact: its samples are {expected}, and it takes them for {got}; export it anew")


def _checked(folder: Path) -> bytes:
    model, seal = folder / MODEL, folder / SEAL
    if not (model.is_file() and seal.is_file()):
        raise Refusal(f"{folder}: no artifact there; make one: make export")
    content, expected = model.read_bytes(), seal.read_text(errors="replace").split(" ")[0]
    if (got := hashlib.sha256(content).hexdigest()) != expected:
        raise Refusal(f"{model}: damaged, expected sha256 {expected}, got {got}; nothing in it was read; export anew")
    return content
