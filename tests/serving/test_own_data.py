"""A folder of pictures all the way: imported, trained on, evaluated, exported, served."""

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from samebench.core import files
from samebench.core.command import UsageError
from samebench.runs.run import Run
from samebench.serving import onnx_export
from samebench.serving.application import Application
from samebench.serving.artifact import Artifact
from samebench.serving.upload import Content
from samebench.tasks.image_classification import image_dataset, image_transform, import_images
from samebench.tasks.image_classification.image_dataset import ImageDataset
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.training import comparison, run_evaluation, train
from samebench.training.model import Model
from tests.samebench.checkout import copy_checkout, run
from tests.samebench.pictures import CLASSES, drawn, encoded, folder
from tests.samebench.team_checkouts import GIT
from tiny import data
from tiny.serving import SERVING
from tiny.settings import Budgets, Settings

from .conftest import Server, change_spec, end, probabilities, start

ANY = Budgets(min_validation_accuracy=0, max_latency_ms_p99=10_000)


@dataclass(frozen=True)
class Own:
    """A data set of one's own, the pictures it was made of, and a run on it."""

    photos: Path
    name: str
    made: ImageDataset
    run: Run

    @property
    def artifact(self) -> Artifact:
        return Artifact.load(self.run.directory / "artifact")


def strange(photos: Path) -> None:
    """Pictures as cameras and programs make them, in every form that is read."""
    turned = Image.Exif()
    turned[0x0112] = 6
    image = drawn("circle", 300)
    image.save(photos / "circle/turned.jpg", exif=turned)
    image.resize((900, 500)).save(photos / "circle/large.jpg", progressive=True)
    image.convert("CMYK").save(photos / "circle/cmyk.jpg")
    image.convert("P").save(photos / "circle/palette.png")
    image.convert("L").save(photos / "circle/grey.jpg")
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    clear.save(photos / "circle/clear.png")
    clear.save(photos / "circle/clear.webp", lossless=True)
    clear.quantize(16).save(photos / "circle/clear palette.png")
    sixteen = np.asarray(drawn("circle", 301).convert("L")).astype(np.uint16) * 257
    Image.fromarray(sixteen).save(photos / "circle/sixteen.png")
    image.resize((9, 5)).save(photos / "circle/small.png")
    image.resize((28, 28)).save(photos / "circle/as it is.png")


def made(home: Path, name: str, *, colour: bool, side: int, settings: Settings) -> Own:
    """Import, train, export."""
    photos = folder(
        home / f"{name} photos", 40, colour=colour, kinds=("png", "jpg", "webp") if colour else ("png", "jpg")
    )
    if colour:
        strange(photos)
    import_images.main(["--source", str(photos), "--name", name, "--side", str(side)])
    run = train.train(settings, runs=home / "runs")
    onnx_export.export(run, ANY)
    return Own(photos, name, image_dataset.read(name), run)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patched:
        at = tmp_path_factory.mktemp("own")
        patched.setattr("samebench.data.source.LISTINGS", at / "data")
        patched.setattr("samebench.data.source.LISTINGS", at / "data")
        yield at


@pytest.fixture(scope="module")
def own(home: Path) -> Own:
    """In colour, of three classes, known well."""
    settings = Settings(data="shapes", network="linear", epochs=15, batch_size=16, lr=0.02)
    return made(home, "shapes", colour=True, side=28, settings=settings)


@pytest.fixture(scope="module")
def grey(home: Path) -> Own:
    """In grey, of another size, with the default network, after an epoch."""
    settings = Settings(data="grey-shapes", epochs=1, batch_size=16, lr=0.02)
    return made(home, "grey-shapes", colour=False, side=20, settings=settings)


@pytest.fixture(scope="module")
def server(own: Own) -> Iterator[Server]:
    running = start(own.run.directory / "artifact")
    yield running
    end(running)


def seen(server: Server, content: bytes, kind: str = "image/png") -> NDArray[np.uint8]:
    """What the network saw of a picture, as the server tells."""
    told = server.predict(content, {"content-type": kind}, query="?seen").json()["seen"]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(told.partition(",")[2]))))


def test_a_training_on_ones_own_pictures_learns_and_tells_which_they_were(own: Own) -> None:
    assert own.run.receipt["state"] == "done"
    assert own.run.receipt["metrics"]["test"]["accuracy"] > 0.8
    assert own.run.receipt["data_version"] == data.load("shapes").version
    model = Model.load(own.run.weights)
    assert model.spec["labels"] == list(CLASSES)
    assert SERVING.transform(model.spec) == ImageTransform(28, 3)


def test_evaluation_names_the_data_sets_own_categories(own: Own, grey: Own) -> None:
    for each in (own, grey):
        output = run_evaluation.evaluate_run(each.run)
        assert [line.split()[0] for line in output.splitlines()[1:4]] == list(CLASSES)
        assert f": accuracy {each.run.receipt['metrics']['test']['accuracy']:.2%}, " in output


def test_a_run_is_the_same_to_the_bit_again(own: Own, home: Path) -> None:
    again = train.train(own.run.read_settings(), runs=home / "again")
    assert again.receipt["weights_sha256"] == own.run.receipt["weights_sha256"]


def test_the_artifact_takes_pixels_in_colour_or_grey_and_answers_as_torch_does(own: Own, grey: Own) -> None:
    for each, shape in ((own, (3, 28, 28)), (grey, (20, 20))):
        (taken,) = each.artifact.session.get_inputs()
        assert (taken.type, tuple(taken.shape[1:])) == ("tensor(uint8)", shape)
        assert each.artifact.spec["labels"] == CLASSES
        assert SERVING.transform(each.artifact.spec).shape == shape
        images = data.load(each.name).test().images
        temperature = each.artifact.facts["figures"]["temperature"]
        expected = (Model.load(each.run.weights).outputs({"images": images}) / temperature).softmax(1)
        got = probabilities(each.artifact, images.view(-1, *shape).numpy())
        assert got == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_card_speaks_of_the_data_that_it_is(own: Own) -> None:
    card = (own.run.directory / "artifact/card.md").read_text()
    assert "A colour 28x28 picture in, one of 3 categories" in card
    assert "The data set `shapes`" in card
    assert "uint8 (N, 3, 28, 28)" in card
    assert "garment" not in card


def test_the_server_sees_of_a_file_what_its_import_saw(own: Own, server: Server) -> None:
    for name, image in zip(own.made.names, own.made.images.numpy(), strict=True):
        content = (own.photos / name).read_bytes()
        kind = {"jpg": "jpeg"}.get(name.rpartition(".")[2], name.rpartition(".")[2])
        assert np.array_equal(seen(server, content, f"image/{kind}"), np.moveaxis(image, 0, 2)), name
    assert {"circle/turned.jpg", "circle/clear palette.png", "circle/sixteen.png"} <= set(own.made.names)


def test_a_server_of_grey_pictures_sees_them_so_and_those_in_colour_too(grey: Own) -> None:
    running = start(grey.run.directory / "artifact")
    for name, image in zip(grey.made.names, grey.made.images.squeeze(1).numpy(), strict=True):
        assert np.array_equal(seen(running, (grey.photos / name).read_bytes()), image), name
    assert seen(running, encoded(drawn("circle", 1))).shape == (20, 20)
    end(running)


def test_the_server_answers_with_the_categories_of_the_data_set(own: Own, server: Server) -> None:
    document = server.ask("GET", "/openapi.json").json()
    schema = {"$ref": "#/components/schemas/Answer", "components": document["components"]}
    right = 0
    for label in CLASSES:
        for number in range(500, 510):
            answer = server.predict(encoded(drawn(label, number)), query="?seen").json()
            jsonschema.validate(answer, schema)
            right += answer["category"] == label
    assert right > 24
    assert set(answer["probabilities"]) == set(CLASSES)
    assert document["info"]["title"] == "Picture classifier"
    assert server.ask("GET", "/health").json()["data_version"] == own.run.receipt["data_version"]


def test_the_server_warns_in_words_that_know_of_no_garments(own: Own, server: Server) -> None:
    told = list(SERVING.transform(own.artifact.spec).warnings)
    assert told[-2:] == [image_transform.TOO_SMALL, "probably none of the categories"]
    doubting = Application(change_spec(own.artifact, confidence_floor=1.1))
    (answer,) = doubting.answers([Content(encoded(Image.new("RGB", (3, 3))), "image/png")], seen=False)
    assert answer["warnings"] == [image_transform.NOTHING, *told[-2:]]
    page = server.ask("GET", "/").body.decode()
    facts = json.loads(page.partition('type="application/json">')[2].partition("</script>")[0])
    shown = page.partition("</script>")[0] + page.rpartition("</script>")[2]
    assert shown.count("Which of these is it?") == 2, "as title and heading, whoever reads it"
    assert "garment" not in shown.lower()
    assert [each["title"] for each in facts["samples"]] == list(CLASSES)
    sample = base64.b64decode(facts["samples"][0]["body"].partition(",")[2])
    assert Image.open(io.BytesIO(sample)).mode == "RGB"


def test_nobody_can_normalise_with_the_statistics_of_another_set(own: Own, home: Path) -> None:
    darker = home / "darker"
    for path in own.photos.glob("*/0*.png"):
        (darker / path.parent.name).mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("RGB").point(lambda level: level // 3).save(darker / path.parent.name / path.name)
    import_images.main(["--source", str(darker), "--name", "darker"])
    other, model = data.load("darker"), Model.load(own.run.weights)
    assert np.ptp([np.mean(each.spec["mean"]) for each in (other, model)]) > 0.3, "else it would not show"
    images = other.test().images
    mean, deviation = (torch.tensor(model.spec[name])[:, None, None] for name in ("mean", "deviation"))
    by_hand = model.network.eval()((images / 255 - mean) / deviation).softmax(1)
    torch.testing.assert_close(model.predict({"images": images})["probabilities"], by_hand, atol=1e-5, rtol=0)
    right = float((by_hand.argmax(1) == other.test().labels).double().mean())
    run_evaluation.evaluate_run(own.run)
    picture = (own.run.directory / "confusion.png").read_bytes()
    output = run_evaluation.evaluate_run(own.run, source="darker")
    assert f": accuracy {right:.2%}, " in output
    assert f" on {len(images)} test examples\n" in output
    assert output.endswith(
        f"of data version {other.version[:12]}, trained on {data.load(own.name).version[:12]}: the run stays as it is"
    )
    assert (own.run.directory / "confusion.png").read_bytes() == picture
    message = f"{other.version[:12]} now; that is another set than the run's, shapes: leave it out, or train again$"
    with pytest.raises(UsageError, match=message):
        onnx_export.export(own.run, ANY, source="darker")
    with pytest.raises(Exception, match="Unexpected input data type"):
        probabilities(own.artifact, (images.numpy() / 255).astype(np.float32))


def test_the_data_that_a_run_was_trained_on_is_brought_back_from_the_commit_that_has_it(own: Own, home: Path) -> None:
    def git(*words: str) -> str:
        done = run(["git", *words], cwd=home, variables=GIT)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    listing = home / "data/shapes.sha256"
    then = {"data_version": "0" * 64, "listings": {"data/shapes.sha256": files.digest(listing)}}
    former = Run(own.run.directory, own.run.receipt | then)
    words = "data version 000000000000 when it was trained, .* now; "
    git("init", "--quiet")
    with pytest.raises(UsageError, match=f"{words}no commit here has that of then, or train again$"):
        onnx_export.export(former, ANY)
    git("add", "data/shapes.sha256")
    git("commit", "--quiet", "--message", "after it was trained")
    commit = git("rev-parse", "HEAD")[:12]
    (home / ".gitignore").write_text("data/*/\n")
    git("add", "--all")
    git("commit", "--quiet", "--message", "later")
    remedy = f"git restore --source={commit} 'data/shapes\\.\\*' && make data DATASET=shapes, or train again$"
    with pytest.raises(UsageError, match=words + remedy):
        onnx_export.export(former, ANY)
    with pytest.raises(UsageError, match=remedy.replace(", or train again", "")):
        comparison.evaluate_on_test(former)
    (home / "data/shapes.dvc").touch()
    with pytest.raises(UsageError, match=f"{words}commit that of now, then git restore"):
        onnx_export.export(former, ANY)


@pytest.mark.parametrize(("source", "difference"), [("synthetic", "categories"), ("grey-shapes", "pictures")])
def test_a_run_is_not_asked_about_other_categories_or_other_pictures(
    own: Own, grey: Own, source: str, difference: str
) -> None:
    with pytest.raises(UsageError, match=f"{source}: other {difference} .* than the model was trained with"):
        run_evaluation.evaluate_run(own.run, source=source)
    with pytest.raises(UsageError, match=f"{source}: other {difference} .* than the model was trained with"):
        onnx_export.export(own.run, ANY, source=source)


def test_the_words_of_the_makefile_are_all_that_it_takes(own: Own, tmp_path: Path) -> None:
    root = copy_checkout(tmp_path / "check out")
    variables = {"SAMEBENCH": "1", "PYTHONPATH": "src"}

    def make(*words: str) -> str:
        done = run(["make", *words], cwd=root, variables=variables)
        return done.stdout + done.stderr

    output = make("data-import", f"FROM={own.photos}", "NAME=shapes")
    assert output.startswith("data/shapes: 129 colour images of 28x28 in 3 categories")
    small = "ARGS=--network linear --epochs 1 --batch-size 16"
    assert "done, test accuracy" in make("train", "DATASET=shapes", small)
    (receipt,) = root.glob("runs/*/receipt.json")
    assert json.loads(receipt.read_text())["data_version"] == own.run.receipt["data_version"]
    assert "DATA=a and DATASET=b: give one of them" in make("train", "DATA=a", "DATASET=b")
    assert "FROM=: give a folder" in make("data-import")
    assert "NAME=: give lower-case words" in make("data-import", "FROM=photos")


def test_the_newest_run_of_the_set_that_is_asked_for_is_taken(own: Own, grey: Own, home: Path) -> None:
    newest, *_ = Run.list_done(home / "runs", data="")
    assert newest.name == max(own.run.name, grey.run.name)
    for each in (own, grey):
        assert [run.name for run in Run.list_done(home / "runs", data=each.name)] == [each.run.name]
    with pytest.raises(UsageError, match="no run in state done on blots; train first"):
        Run.list_done(home / "runs", data="blots")


def test_a_run_on_a_set_that_this_checkout_lacks_is_exported_nowhere(own: Own) -> None:
    former = Run(own.run.directory, own.run.receipt | {"settings": own.run.receipt["settings"] | {"data": "boots"}})
    with pytest.raises(UsageError, match="its data, boots, is not in this checkout; no commit here has that of then"):
        onnx_export.export(former, ANY)
