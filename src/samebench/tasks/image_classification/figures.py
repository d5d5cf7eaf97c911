"""The look of every figure: one palette, one style, and the kinds of figure that the notebooks draw.

Each function returns a figure of its own, so that a notebook shows it by naming it last in a cell.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from samebench.tasks.image_classification.inspection import Calibration
from samebench.tasks.image_classification.palette import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION

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


def use() -> None:
    """Give every figure of this process the style."""
    mpl.rcParams.update(STYLE)


def blank(*, width: float = 8, height: float = 4, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure, sizes in inches, and its axes row by row."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for each in axes:
        each.grid()
    return figure, axes


def bars(groups: Mapping[str, Sequence[float]], names: Sequence[str], *, title: str, xlabel: str) -> Figure:
    """For each name a horizontal bar of every group, with its value written at its end."""
    figure, [axes] = blank(height=1 + 0.34 * len(names))
    places, thickness = np.arange(len(names)), 0.8 / len(groups)
    for number, (label, values) in enumerate(groups.items()):
        shift = (number - (len(groups) - 1) / 2) * thickness
        drawn = axes.barh(places + shift, values, height=0.92 * thickness, label=label)
        axes.bar_label(drawn, fmt="{:,.0f}", padding=3, fontsize=8)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(title=title, xlabel=xlabel)
    if len(groups) > 1:
        figure.legend(loc="outside lower center", ncols=len(groups))
    return figure


def mosaic(rows: Sequence[Tensor], names: Sequence[str], *, title: str) -> Figure:
    """Rows of images (N, C, H, W) uint8 without captions, each named at its left; a row may have few or none."""
    columns, step = max(1, *map(len, rows)), rows[0].shape[-1] + 2
    figure, [axes] = blank(height=0.6 + 7 * len(rows) / columns)
    sheet = np.full((len(rows) * step, columns * step, rows[0].shape[1]), 255, dtype=np.uint8)
    for row, images in enumerate(rows):
        for column, image in enumerate(images):
            top, left = row * step + 1, column * step + 1
            sheet[top : top + step - 2, left : left + step - 2] = np.moveaxis(image.numpy(), 0, 2)
    axes.imshow(sheet.squeeze(2) if sheet.shape[2] == 1 else sheet, vmin=0, vmax=255)
    axes.set_yticks((np.arange(len(rows)) + 0.5) * step, names)
    axes.set_xticks([])
    _plain(axes)
    axes.set_title(title)
    return figure


def gallery(images: Tensor, captions: Sequence[str], *, title: str, columns: int = 6, cmap: str = "gray") -> Figure:
    """Images (N, C, H, W), 0 to 255, each under its caption, grey ones in `cmap`; says so where there are none."""
    rows = max(1, -(-len(images) // columns))
    tall = max((caption.count("\n") for caption in captions), default=0)
    figure, axes = blank(height=0.5 + rows * (8 / columns + 0.1 + 0.16 * tall), rows=rows, columns=columns)
    figure.suptitle(title if len(images) else f"{title}: none", x=0.01, ha="left")
    for place in axes:
        place.set_axis_off()
    for place, image, caption in zip(axes, images, captions, strict=False):
        pixels = np.moveaxis(image.numpy(), 0, 2)
        is_grey = pixels.shape[2] == 1
        shown = place.imshow(pixels.squeeze(2) if is_grey else pixels.astype(np.uint8), cmap=cmap, vmin=0, vmax=255)
        place.set_title(caption, fontsize=9, loc="center", pad=4)
    if len(images) and images.shape[1] == 1 and cmap != "gray":
        bar = figure.colorbar(shown, ax=axes, fraction=0.03, pad=0.02, label="pixel value, 0 to 255")
        bar.outline.set_visible(False)
    return figure


def histogram(counts: Tensor, *, title: str) -> Figure:
    """How often each pixel value (256,) occurs, on a logarithmic axis."""
    figure, [axes] = blank(height=3.2)
    share = 100 * counts.double() / counts.sum()
    axes.stairs(share.numpy(), np.arange(len(counts) + 1) - 0.5, fill=True)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g} %")
    axes.margins(x=0.01)
    axes.set(title=title, xlabel="pixel value, 0 to 255", ylabel="share of all pixels")
    return figure


def spread(groups: Sequence[Tensor], names: Sequence[str], *, title: str, xlabel: str) -> Figure:
    """One box a group (n,): its quartiles, and whiskers from the 5th to the 95th percentile."""
    figure, [axes] = blank(height=1 + 0.34 * len(names))
    axes.boxplot(
        [group.numpy() for group in groups],
        orientation="horizontal",
        whis=(5, 95),
        showfliers=False,
        widths=0.6,
        patch_artist=True,
        boxprops={"facecolor": SKY, "edgecolor": INK},
        medianprops={"color": INK, "linewidth": 2},
    )
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlim(left=0)
    axes.set(title=title, xlabel=xlabel)
    return figure


def curves(history: Sequence[Mapping[str, float]], *, title: str) -> Figure:
    """Losses and validation accuracy after each epoch of a run's history."""
    figure, (losses, accuracy) = blank(height=3.4, columns=2)
    epochs = range(1, len(history) + 1)
    for label, name, colour in (("training", "train_loss", BLUE), ("validation", "validation_loss", VERMILION)):
        losses.plot(epochs, [figures[name] for figures in history], marker="o", color=colour, label=label)
    losses.set(title="Loss", xlabel="epoch", ylabel="cross-entropy, nats an image")
    losses.set_ylim(bottom=0)
    losses.legend()
    values = [100 * figures["validation_accuracy"] for figures in history]
    accuracy.plot(epochs, values, marker="o", color=VERMILION)
    accuracy.set(title="Accuracy", xlabel="epoch", ylabel="validation images right, %")
    accuracy.yaxis.labelpad = 8
    for axes in (losses, accuracy):
        axes.set_xticks(epochs)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def together(histories: Mapping[str, Sequence[Mapping[str, float]]], *, title: str) -> Figure:
    """Losses and validation accuracy of several runs, each under its name; what was measured in training is dashed."""
    figure, (losses, accuracy) = blank(width=9, height=3.6 + 0.2 * len(histories), columns=2)
    colours = STYLE["axes.prop_cycle"].by_key()["color"]
    for number, (name, history) in enumerate(histories.items()):
        style = {
            "color": colours[number % len(colours)],
            "marker": "os^Dv"[number // len(colours) % 5],
            "markersize": 4,
        }
        epochs = range(1, len(history) + 1)
        losses.plot(epochs, [each["train_loss"] for each in history], linestyle="--", alpha=0.6, **style)
        losses.plot(epochs, [each["validation_loss"] for each in history], **style)
        accuracy.plot(epochs, [100 * each["validation_accuracy"] for each in history], label=name, **style)
    losses.set(title="Loss: validation, and training dashed", xlabel="epoch", ylabel="cross-entropy, nats an image")
    losses.set_ylim(bottom=0)
    accuracy.set(title="Accuracy", xlabel="epoch", ylabel="validation images right, %")
    for axes in (losses, accuracy):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(loc="outside lower left")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a file's content."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def reliability(measured: Calibration, *, title: str) -> Figure:
    """How often the model is right against how sure it is, and below, how many images are in each bin."""
    figure = Figure(figsize=(6.4, 5.6), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.grid()
    lower.grid()
    width = 100 / len(measured.counts)
    middles = (np.arange(len(measured.counts)) + 0.5) * width
    met = (measured.counts > 0).numpy()
    upper.plot([0, 100], [0, 100], color=INK, linestyle="--", linewidth=1, label="as sure as right")
    upper.bar(middles[met], 100 * measured.accuracy.numpy()[met], 0.92 * width, color=SKY)
    upper.plot(
        100 * measured.confidence.numpy()[met], 100 * measured.accuracy.numpy()[met],
        marker="o", color=VERMILION, label="measured, at the mean confidence",
    )  # fmt: skip
    upper.set(title=title, ylabel="images right, %", xlim=(0, 100), ylim=(0, 103))
    upper.legend(loc="upper left")
    lower.bar(middles, measured.counts.numpy(), 0.92 * width, color=BLUE)
    lower.yaxis.set_major_formatter("{x:,.0f}")
    lower.set(xlabel="confidence in the category predicted, %", ylabel="images")
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
