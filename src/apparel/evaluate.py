"""What a trained model gets right and what it takes for what.

python -m apparel.evaluate --run runs/20261123-201500-abcd
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from apparel import data
from apparel.serve.garment import transform_from_dict
from samebench.core import command, files, flags
from samebench.core.command import UsageError
from samebench.core.table import align
from samebench.core.text import printable
from samebench.environment import accelerator, determinism
from samebench.runs import records
from samebench.runs.run import RUNS, Run
from samebench.tasks.image_classification.image_data import Data
from samebench.tasks.image_classification.inspection import confusion
from samebench.training.model import Model

UNTESTED = "not tested"  # a category without images
LEGIBLE = 25  # categories whose shares still fit into the confusion matrix


@dataclass(frozen=True, kw_only=True)
class Args:
    """Which run to evaluate, on which data."""

    run: str = field(default="", metadata={"help": "a run's directory; empty: the newest that is done"})
    data: str = field(default="", metadata={"help": "empty: what the run was trained with"})


def figures(matrix: Tensor) -> list[tuple[float, float, float]]:
    """Precision, recall and F1 of each category, 0 to 1; 0 where it was never met or predicted."""
    right, met, predicted = matrix.diagonal().double(), matrix.sum(1).double(), matrix.sum(0).double()
    columns = (
        right / predicted.clamp_min(1),
        right / met.clamp_min(1),
        2 * right / (met + predicted).clamp_min(1),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def table(matrix: Tensor, names: Sequence[str]) -> str:
    """The figures of each category as lines of text."""
    rows = [["category", "precision", "recall", "F1", "images"]]
    for name, shares, met in zip(names, figures(matrix), matrix.sum(1).tolist(), strict=True):
        rows.append([name, *([f"{share:.2%}" for share in shares] if met else [UNTESTED] * 3), f"{met}"])
    return "\n".join(align(rows, numbers=range(1, 5)))


def draw(matrix: Tensor, names: Sequence[str], *, title: str, weights: str) -> bytes:
    """The confusion matrix as a PNG: each row in per cent of its category's images.

    It carries the hash of the `weights` that it tells of, so that a picture of others is known.
    """
    shares = 100 * matrix.double() / matrix.sum(1, keepdim=True).clamp_min(1)
    with mpl.rc_context({"font.size": 10, "axes.titlesize": 13, "text.parse_math": False}):
        size = min(max(1.0, len(names) / 12), 3.0)
        figure = Figure(figsize=(8.4 * size, 7.4 * size), dpi=130, layout="constrained")
        axes = figure.subplots()
        # Cividis is read alike with and without red-green blindness; the root shows the rare mistakes.
        picture = axes.imshow(shares.numpy(), cmap="cividis", norm=mpl.colors.PowerNorm(0.5, vmin=0, vmax=100))
        axes.set_title(title, pad=12)
        axes.set_xlabel("predicted category")
        axes.set_ylabel("true category")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        for row, line in enumerate(shares.tolist() if len(names) <= LEGIBLE else []):
            for column, share in enumerate(line):
                colour = "black" if share > 30 else "white"
                text = f"{share:.1f}" if share else "0"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
        bar = figure.colorbar(picture, ax=axes, fraction=0.045, pad=0.02, ticks=[0, 1, 5, 20, 50, 100])
        bar.set_label("% of the true category's images (root scale)")
        bar.outline.set_visible(False)
        content = io.BytesIO()
        figure.savefig(content, format="png", metadata={"weights_sha256": weights})
    return content.getvalue()


def load_matching_dataset(model: Model, source: str) -> Data:
    """The data set to ask the model about.

    Raises UsageError where its categories or pictures are not the model's. What the pixels are normalised with is the
    model's own affair.
    """
    known = data.load(source)
    if list(known.labels) != model.spec["labels"]:
        others = sorted({*known.labels} ^ {*model.spec["labels"]})
        differing = f"categories ({len(others)} are not in both, such as {', '.join(others[:3])})"
    elif known.preparation != (transform := transform_from_dict(model.spec)):
        differing = f"pictures ({known.preparation}, not {transform})"
    else:
        return known
    raise UsageError(f"{source}: other {differing} than the model was trained with; take a run of this data set")


def evaluate_run(run: Run, *, source: str = "") -> str:
    """Ask the run's model about the test images, draw `confusion.png` into the run, return the table.

    Of another version of the data than the run's nothing is drawn: what stands in a run tells of its own.
    """
    device = accelerator.choose()
    model = Model.of_run(run)
    model.network.to(device)
    known = load_matching_dataset(model, source or run.settings().data)
    test = known.test()
    predicted = model.predict({"images": test.images})["probabilities"].argmax(1)
    matrix = confusion(test.labels, predicted, categories=len(model.spec["labels"]))
    accuracy = float(matrix.diagonal().sum() / matrix.sum())
    title = f"{run.directory.name}: {accuracy:.2%} of {len(test):,} test images right"
    said = f"{table(matrix, model.spec['labels'])}\n\n{title}"
    if known.version != (own := str(run.receipt.get("data_version", known.version))):
        return f"{said}\nof data version {known.version[:12]}, trained on {printable(own[:12])}: not drawn"
    path = run.path("confusion.png")
    files.write(path, draw(matrix, model.spec["labels"], title=title, weights=model.digest()))
    return f"{said}\ndrawn in {path}"


def main(argv: Sequence[str]) -> None:
    """Evaluate the run asked for, or the newest that is done."""
    about = "Per-category figures and the confusion matrix of a run."
    question = flags.parse(Args, argv, program="python -m apparel.evaluate", about=about)
    run = Run.open(records.folder(question.run)) if question.run else Run.done(RUNS, data=question.data)[0]
    run.refuse_undone()
    fast = run.settings().fast
    determinism.reexecute(fast=fast)
    determinism.pin(fast=fast)
    print(evaluate_run(run, source=question.data))


if __name__ == "__main__":
    command.run(main)
