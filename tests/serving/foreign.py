"""Artifacts that somebody else has made: small graphs with any facts and samples."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from samebench.serving import onnx_export
from samebench.serving.artifact import FACTS, SAMPLES_SHA256

LOCKS = {"requirements.lock": "0" * 64}
KNOWN = {"run": "theirs", "weights_sha256": "0" * 64, "data_version": "0" * 64, "locks": LOCKS, "confidence_floor": 0.1}


def model(categories: int, *, factor: float = 1.0) -> onnx.ModelProto:
    """A graph that tells pictures in colour apart by their mean; its logits are multiplied by `factor`."""
    weights = np.random.default_rng(0).normal(size=(3, categories)).astype(np.float32) * np.float32(factor)
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["floats"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    taken = helper.make_tensor_value_info("images", TensorProto.UINT8, ["count", 3, 256, 256])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["count", categories])
    graph = helper.make_graph(nodes, "theirs", [taken], [given], [numpy_helper.from_array(weights, "weights")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(labels: Sequence[str], images: NDArray[np.uint8]) -> bytes:
    """samples.json."""
    pixels = [base64.b64encode(image.tobytes()).decode() for image in images]
    told = [{"label": label, "pixels": each} for label, each in zip(labels, pixels, strict=True)]
    return json.dumps({"samples": told}).encode()


def recorded_samples(outputs: Mapping[str, Any], **changes: Any) -> bytes:
    """samples.json with recorded outputs, of a grey image."""
    pixels = base64.b64encode(bytes([9]) * 3 * 256 * 256).decode()
    images = {"dtype": "uint8", "shape": [3, 256, 256], "base64": pixels} | changes
    return json.dumps({"samples": [{"title": "a", "inputs": {"images": images}, "outputs": outputs}]}).encode()


def recorded(*values: float) -> dict[str, Any]:
    """The output of two probabilities."""
    array = np.array(values, np.float32)
    return {"dtype": "float32", "shape": [len(values)], "base64": base64.b64encode(array.tobytes()).decode()}


def write(
    folder: Path,
    labels: Any,
    *,
    categories: int = 0,
    chosen: bytes = b'{"samples": []}',
    factor: float = 1.0,
    **facts: Any,
) -> Path:
    """An artifact with these facts in place of the usual ones (None leaves one out), and an output for each label."""
    told = {**KNOWN, "labels": labels, "preparation": "plain", "side": 256, "channels": 3, **facts}
    told = {name: value for name, value in told.items() if value is not None}
    made = model(categories or len(labels), factor=factor)
    helper.set_model_props(made, {FACTS: json.dumps({SAMPLES_SHA256: hashlib.sha256(chosen).hexdigest(), **told})})
    onnx_export.write(folder, made.SerializeToString(), chosen, "")
    return folder
