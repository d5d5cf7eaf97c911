"""An artifact of a small network, and the server of it as a process of its own."""

import io
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from samebench import project
from samebench.core import flags
from samebench.runs.run import Run
from samebench.serving import onnx_export
from samebench.serving.artifact import Artifact
from samebench.tasks.image_classification.task import ImageClassification
from samebench.training import train
from tests.samebench.inference_server import PNG, Reply, Server, end, logged, reply_on, start
from tiny.settings import Budgets

__all__ = ["PNG", "Reply", "Server", "end", "logged", "reply_on", "start"]
ANY = Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the project on the bench, which classifies images; it knows the synthetic set well, and is exported."""
    if not isinstance(project.task(), ImageClassification):
        pytest.skip(f"{project.name()} classifies no images")
    settings: Any = project.settings_class()
    budgets: Any = project.budgets_class()
    network = {"network": "linear"} if "network" in flags.defaults(settings) else {}
    made = train.train(settings(data="synthetic", epochs=4, **network), runs=tmp_path_factory.mktemp("runs"))
    onnx_export.export(made, budgets(**asdict(ANY)))
    return made


@pytest.fixture(scope="session")
def folder(run: Run) -> Path:
    """Its artifact."""
    return run.directory / "artifact"


@pytest.fixture(scope="session")
def artifact(folder: Path) -> Artifact:
    return Artifact.load(folder)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Test images (N, 28, 28)."""
    data: Any = project.task().load_data("synthetic")
    found: NDArray[np.uint8] = data.test().images.squeeze(1).numpy()
    found[:, 0, 0] = 0  # a dark corner, as every image of Fashion-MNIST has
    return found


def probabilities(artifact: Artifact, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What an artifact answers on images (N, 28, 28)."""
    return artifact.predict({"images": images})["probabilities"]


def change_spec(artifact: Artifact, **changes: Any) -> Artifact:
    return replace(artifact, spec={**artifact.spec, **changes})


def encoded(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """The file that a picture would be."""
    content = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(content, kind, **options)
    return content.getvalue()


def form(*contents: bytes, field: str = "picture") -> tuple[bytes, dict[str, str]]:
    """A body of multipart/form-data with these files, and its header."""
    head = f'--limit\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n'
    parts = b"".join(head.encode() + b"Content-Type: image/png\r\n\r\n" + each + b"\r\n" for each in contents)
    return parts + b"--limit--\r\n", {"content-type": "multipart/form-data; boundary=limit"}


@pytest.fixture(scope="session")
def server(folder: Path) -> Iterator[Server]:
    running = start(folder)
    yield running
    end(running)
