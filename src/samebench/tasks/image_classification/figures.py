"""Figures of images and of classifiers, as the notebooks draw them.

Each function returns a figure of its own, so that a notebook shows it by naming it last in a cell.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from samebench.tasks.image_classification.inspection import Calibration
from samebench.training.figures import blank
from samebench.training.palette import BLUE, INK, SKY, VERMILION


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
        drawn = place.imshow(pixels.squeeze(2) if is_grey else pixels.astype(np.uint8), cmap=cmap, vmin=0, vmax=255)
        place.set_title(caption, fontsize=9, loc="center", pad=4)
    if len(images) and images.shape[1] == 1 and cmap != "gray":
        bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.02, label="pixel value, 0 to 255")
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
