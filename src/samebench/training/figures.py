"""The style of all figures, and the curves of runs.

Each function returns a new figure, which a notebook shows if it is the last value of a cell.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from samebench.project import Metric
from samebench.training.palette import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE]),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 12,
    "figure.titlesize": 13,
    "font.size": 10,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "image.cmap": "gray",
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "xtick.color": INK,
    "ytick.color": INK,
}


def use_style() -> None:
    """Set the style of every figure of this process."""
    mpl.rcParams.update(STYLE)


def blank(*, width: float = 8, height: float = 4, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, sizes in inches, and its axes row by row."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.grid()
    return figure, axes


def curves(history: Sequence[Mapping[str, float]], metric: Metric, *, title: str) -> Figure:
    """Losses and the `metric` on the validation data after each epoch of a run's history."""
    figure, (losses, values) = blank(height=3.4, columns=2)
    epochs = range(1, len(history) + 1)
    for label, name, colour in (("training", "train_loss", BLUE), ("validation", "validation_loss", VERMILION)):
        if all(name in epoch for epoch in history):
            losses.plot(epochs, [epoch[name] for epoch in history], marker="o", color=colour, label=label)
    losses.legend()
    values.plot(epochs, [epoch[f"validation_{metric.name}"] for epoch in history], marker="o", color=VERMILION)
    _describe(losses, values, metric)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def together(histories: Mapping[str, Sequence[Mapping[str, float]]], metric: Metric, *, title: str) -> Figure:
    """The curves of several runs by name; the training loss is dashed."""
    figure, (losses, values) = blank(width=9, height=3.6 + 0.2 * len(histories), columns=2)
    colours = STYLE["axes.prop_cycle"].by_key()["color"]
    for number, (name, history) in enumerate(histories.items()):
        repeat, place = divmod(number, len(colours))
        style = {"color": colours[place], "marker": "os^Dv"[repeat % 5], "markersize": 4}
        epochs = range(1, len(history) + 1)
        losses.plot(epochs, [epoch["train_loss"] for epoch in history], linestyle="--", alpha=0.6, **style)
        if all("validation_loss" in epoch for epoch in history):
            losses.plot(epochs, [epoch["validation_loss"] for epoch in history], **style)
        values.plot(epochs, [epoch[f"validation_{metric.name}"] for epoch in history], label=name, **style)
    _describe(losses, values, metric)
    losses.set(title="Loss: validation, and training dashed")
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(loc="outside lower left")
    return figure


def _describe(losses: Axes, values: Axes, metric: Metric) -> None:
    losses.set(title="Loss", xlabel="epoch", ylabel="loss, mean of the examples")
    losses.set_ylim(bottom=0)
    values.set(title=metric.name, xlabel="epoch", ylabel=f"{metric.name} on the validation data")
    values.yaxis.set_major_formatter(FuncFormatter(lambda value, _: format(value, metric.format)))
    values.yaxis.labelpad = 8
    for axes in (losses, values):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()
