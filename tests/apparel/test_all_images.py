"""The artifact of a real run on all test images of Fashion-MNIST."""

import http.client
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from apparel import data
from apparel.serving.garment import prepare
from apparel.settings import Budgets
from samebench.core.command import UsageError
from samebench.data.source import default_name
from samebench.serving import export, onnx_export, run_budgets
from samebench.serving.artifact import Artifact
from samebench.tasks.image_classification.decode_image import ORIENTATION, TURNS, open_image
from samebench.tasks.image_classification.image_data import Split
from tests import soak
from tests.samebench.checkout import ROOT
from tests.samebench.pictures import UNDONE
from tests.serving.conftest import PNG, encoded, end, probabilities, start


@pytest.fixture(scope="module")
def real() -> tuple[Path, Split]:
    """The artifact of the newest good run on Fashion-MNIST, and its test images."""
    try:
        run = run_budgets.newest_within_budget(ROOT / "runs", Budgets(), data=default_name())
    except UsageError as refusal:
        pytest.skip(f"{refusal} (make train)")
    if not export.has_artifact(run):
        onnx_export.export(run, Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000))
    return run.directory / "artifact", data.load(run.read_settings().data).test()


@pytest.mark.soak
def test_all_test_images_through_the_interface_are_answered_as_offline(real: tuple[Path, Split]) -> None:
    folder, test = real
    images = test.images.squeeze(1).numpy()
    expected = probabilities(Artifact.load(folder), images)
    server = start(folder)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    got = []
    for image in images:
        connection.request("POST", "/predict", encoded(image), PNG)
        got.append(list(json.loads(connection.getresponse().read())["probabilities"].values()))
    connection.close()
    end(server)
    difference = float(np.abs(np.array(got) - expected).max())
    assert (np.array(got).argmax(1) == expected.argmax(1)).all()
    assert difference < 1e-5
    soak.record(
        "all_test_images_through_the_interface", f"{len(got)} of {len(got)} as offline, within {difference:.0e}"
    )


def drawn(image: NDArray[np.uint8], index: int, how: Image.Resampling) -> bytes:
    """The image as a phone might have it: dark on white, 300x400 with a margin, JPEG, turned and told so by EXIF."""
    paper = Image.new("L", (300, 400), 255)
    paper.paste(Image.fromarray(255 - image).resize((252, 252), how), (24, 74))
    exif = Image.Exif()
    exif[ORIENTATION] = 1 + index % 8
    if turn := UNDONE.get(exif[ORIENTATION], TURNS.get(exif[ORIENTATION])):
        paper = paper.transpose(turn)
    return encoded(paper.convert("RGB"), "JPEG", quality=85, exif=exif)


@pytest.mark.soak
def test_drawn_dark_on_white_and_turned_the_test_images_are_known_as_well(real: tuple[Path, Split]) -> None:
    folder, test = real
    artifact = Artifact.load(folder)
    images, labels = test.images.squeeze(1).numpy(), test.labels.numpy()
    plain = float((probabilities(artifact, images).argmax(1) == labels).mean())
    told = []
    for how in (Image.Resampling.NEAREST, Image.Resampling.BICUBIC, Image.Resampling.BILINEAR):
        seen = [prepare(open_image(drawn(image, index, how))).pixels for index, image in enumerate(images)]
        accuracy = float((probabilities(artifact, np.stack(seen)).argmax(1) == labels).mean())
        assert plain - accuracy < 0.02
        told.append(f"{how.name.lower()} {100 * accuracy:.2f} %")
    soak.record(
        "drawn_dark_on_white", f"{len(labels)} images each way: {100 * plain:.2f} % as they are, {', '.join(told)}"
    )
