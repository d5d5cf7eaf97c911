"""What the model card of an image classifier says."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from samebench.core.text import markdown
from samebench.tasks.image_classification.image_transform import ImageTransform
from samebench.tasks.image_classification.temperature import DOUBTFUL_SHARE
from samebench.training.task import Card, CardText


@dataclass(frozen=True)
class Words:
    """What a card says of the images."""

    title: str = "Image classifier"
    of: str = ""  # behind "picture"
    use: str = "It is for pictures\nlike those that it was trained on, under a person's eye."
    seen: str = "the pictures of its data set and nothing else: another camera or background may be harder"
    limits: str = "what is none of them gets one of them too, maybe with confidence"
    photos: str = "the server prepares a picture as the data set's import did"
    pixels: str = "the whole picture, over white, scaled by area onto a white square"
    source: str = ""


def weakest(matrix: Tensor, labels: Sequence[str]) -> str:
    """The category with test images that is found least often, and what it is taken for most often instead."""
    counts = matrix.sum(1)
    shares = matrix.double() / counts[:, None].clamp_min(1)
    row = int(shares.diagonal().masked_fill(counts == 0, 2).argmin())
    others = shares[row].clone()
    others[row] = 0
    return (
        f"{markdown(labels[row])}, of which {shares[row, row]:.1%} are found; "
        f"{others.max():.1%} are taken for {markdown(labels[int(others.argmax())])}"
    )


def untested(matrix: Tensor, labels: Sequence[str]) -> str:
    """A line of the card that names the categories without test images; empty if each has some."""
    names = [markdown(label) for label, count in zip(labels, matrix.sum(1).tolist(), strict=True) if not count]
    return f"Not tested, as there are no test images: {', '.join(names)}" if names else ""


def text(card: Card, words: Words, transform: ImageTransform, matrix: Tensor) -> CardText:
    """All of it. `matrix` is the confusion matrix of the test images."""
    figures, labels, spec = card.figures, card.spec["labels"], card.spec
    floor = f"{spec['confidence_floor']:.3f}; {DOUBTFUL_SHARE:.0%} of validation is below"
    temperature = f"{figures['temperature']:.3f}"
    if few := figures.get("not_calibrated"):
        floor, temperature = f"none: {few}", f"{temperature}, not calibrated: {few}"
    colour, shape = "grey" if transform.channels == 1 else "colour", ", ".join(map(str, transform.shape))
    pictures = f"{colour} {transform.side}x{transform.side} picture{words.of}"
    limits = [
        f"It knows these categories and no others: {words.limits}",
        f"It has seen {words.seen}",
        f"Weakest: {weakest(matrix, labels)}",
        untested(matrix, labels),
        f"The figures are those of test images as the data set has them; {words.photos}",
    ]
    return CardText(
        title=words.title,
        purpose=f"A {pictures} in, one of {len(labels)} categories and a confidence out. {words.use}",
        source=words.source,
        figures=[
            ("expected calibration error before calibration", f"{figures['calibration_error_before']:.2%}"),
            ("and after", f"{figures['calibration_error']:.2%}"),
            ("temperature, fitted on the validation images", temperature),
            (f"confidence below which it is {transform.doubt}", floor),
        ],
        limits=list(filter(None, limits)),
        interface=(
            f"`model.onnx` takes `images`, uint8 (N, {shape}), {words.pixels}, and gives `probabilities`, "
            f"float (N, {len(labels)});\nnormalisation, temperature and softmax are inside."
        ),
    )
