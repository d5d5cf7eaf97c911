"""What a trained classifier gets right and what it takes for what: figures and a picture of the confusion matrix."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from torch import Tensor

from samebench.core.table import align

UNTESTED = "not tested"  # a category without images
LEGIBLE = 25  # categories whose shares still fit into the confusion matrix


def class_figures(matrix: Tensor) -> list[tuple[float, float, float]]:
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
    for name, shares, met in zip(names, class_figures(matrix), matrix.sum(1).tolist(), strict=True):
        rows.append([name, *([f"{share:.2%}" for share in shares] if met else [UNTESTED] * 3), f"{met}"])
    return "\n".join(align(rows, numbers=range(1, 5)))


def draw(matrix: Tensor, names: Sequence[str], *, title: str) -> bytes:
    """The confusion matrix as a PNG: each row in per cent of its category's images."""
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
        figure.savefig(content, format="png")
    return content.getvalue()
