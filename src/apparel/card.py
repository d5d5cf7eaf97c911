"""The model card: what people who are handed an artifact should know, written from its run and its evaluation."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from apparel.evaluate import table
from apparel.serve.artifact import IMAGES, MODEL, PROBABILITIES, SEAL, Artifact
from samebench.core.text import code, markdown
from samebench.tasks.image_classification.temperature import DOUBTFUL_SHARE

# What `export` promises, in the words of the card.
AGREEMENT = 1e-5  # how far a probability from onnxruntime may lie from torch's
LATENCIES = 1000  # single images timed

# What a card says of the pictures, by their preparation.
WORDS = {
    "garment": {
        "title": "Apparel classifier",
        "of": " of one garment",
        "use": "It is for sorting\na catalogue under a person's eye; nothing about a person follows from its answer.",
        "seen": "single garments on a plain background: no people, no scenes, no heaps of clothes",
        "limits": "what is no garment gets one of them too, a letter or a disc with confidence",
        "photos": "photos are prepared by the server and are harder",
        "pixels": "a light garment on black",
    },
    "plain": {
        "title": "Picture classifier",
        "of": "",
        "use": "It is for pictures\nlike those that it was trained on, under a person's eye.",
        "seen": "the pictures of its data set and nothing else: another camera or background may be harder",
        "limits": "what is none of them gets one of them too, maybe with confidence",
        "photos": "the server prepares a picture as the data set's import did",
        "pixels": "the whole picture, over white, scaled by area onto a white square",
    },
}
SOURCES = {"fashion-mnist": " (Xiao, Rasul and Vollgraf 2017: shop pictures of single garments)"}


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
    return f"- Not tested, as there are no test images: {', '.join(names)}.\n" if names else ""


def card(artifact: Artifact, receipt: dict[str, Any], measured: dict[str, Any], matrix: Tensor) -> str:
    """The model card: what it is for, what it was trained on, what it can, what it can't, and how to check it.

    The same run gives the same card, so it has what was promised of a machine's speed, and not what one machine took.
    """
    facts, settings = artifact.facts, receipt["settings"]
    words, wanted, count = WORDS[artifact.preparation.name], artifact.preparation, len(artifact.labels)
    shape = ", ".join(map(str, wanted.shape))
    colour = "grey" if wanted.channels == 1 else "colour"
    taken = f"{colour} {wanted.side}x{wanted.side} picture{words['of']}"
    doubt, floor = artifact.preparation.doubt, f"{artifact.floor:.3f}; {DOUBTFUL_SHARE:.0%} of validation is below"
    temperature = f"{measured['temperature']:.3f}"
    if few := measured.get("not_calibrated"):
        floor, temperature = f"none: {few}", f"{temperature}, not calibrated: {few}"
    return f"""# {words["title"]}, run {facts["run"]}

A {taken} in, one of {count} categories and a confidence out. {words["use"]}

## What it was trained on
The data set `{code(settings["data"])}`, version `{facts["data_version"][:12]}`{SOURCES.get(settings["data"], "")}.
Network `{code(settings["network"])}`, {settings["epochs"]} epochs, seed {settings["seed"]}; code `{commit(receipt)}`.
{origin(receipt)}All else is in the run's receipt.

## What it can
| figure | value |
|---|---|
| accuracy on the validation images, by which runs are chosen | {measured["validation_accuracy"]:.2%} |
| accuracy on the test images | {measured["test_accuracy"]:.2%} |
| expected calibration error before calibration | {measured["calibration_error_before"]:.2%} |
| and after | {measured["calibration_error"]:.2%} |
| temperature, fitted on the validation images | {temperature} |
| confidence below which it is {doubt} | {floor} |
| size of `{MODEL}` | {measured["megabytes"]:.2f} MB |
| an image alone, p99 of {LATENCIES:,} on the machine that exported it | at most {measured["slowest"]:g} ms |
| onnxruntime against torch on the test images | same labels, probabilities within {AGREEMENT:.0e} |

```
{table(matrix, [code(each) for each in artifact.labels])}
```

## What it can't
- It knows these categories and no others: {words["limits"]}.
- It has seen {words["seen"]}.
- Weakest: {weakest(matrix, artifact.labels)}.
{untested(matrix, artifact.labels)}- The figures are those of test images as the data set has them; {words["photos"]}.

## How to check it
`{MODEL}` takes `{IMAGES}`, uint8 (N, {shape}), {words["pixels"]}, and gives `{PROBABILITIES}`, float (N, {count});
normalisation, temperature and softmax are inside. Check it before it is loaded: `sha256sum --check {SEAL}`.

- model: {artifact.sha256}
- weights: {facts["weights_sha256"]}
- data: {facts["data_version"]}
"""


def origin(receipt: dict[str, Any]) -> str:
    """What a card tells of the model that the training started from, if it did."""
    if not (init := receipt.get("init")):
        return ""
    return f"Started from the weights `{init['weights_sha256'][:12]}`, with the mean and deviation of their data.\n"


def commit(receipt: dict[str, Any]) -> str:
    """What a card calls the code that trained."""
    told = receipt.get("code", {})
    return f"{code(told.get('commit'))[:12]}{' and changes to it' if told.get('dirty') else ''}"
