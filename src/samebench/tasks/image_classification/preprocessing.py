"""Mean and standard deviation of the training pixels: what images are normalised with before a network sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from samebench.core.command import UsageError

LEAST_DEVIATION = 1e-7  # of a model that was trained before there was MIN_DEVIATION
MIN_DEVIATION = 0.02  # 5 of 255 levels: with less, one level would be a large step for a network
ChannelStats = float | tuple[float, ...]  # one of grey images, or one of each channel


@dataclass(frozen=True)
class Preprocessing:
    """Mean and standard deviation of the training pixels, on the scale 0 to 1, of each channel."""

    mean: ChannelStats
    std: ChannelStats

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """The statistics of images (N, C, H, W) uint8; from histograms, hence exact in any order.

        A deviation is at least MIN_DEVIATION.
        """
        counts = [torch.bincount(images[:, each].flatten(), minlength=256) for each in range(images.shape[1])]
        return cls.of_counts(torch.stack(counts))

    @classmethod
    def of_counts(cls, counts: Tensor) -> Self:
        """The statistics of pixels of which each channel has each level so many times (C, 256)."""
        means, deviations = zip(*map(_statistics, counts.double()), strict=True)
        return cls(_levels(means), _levels(deviations)).with_min_deviation()

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any], *, channels: int = 1) -> Self:
        """The statistics that the facts of a model tell of, or of a data set. Raises ValueError for impossible ones."""
        try:
            mean, deviation = (_levels(facts[name]) for name in ("mean", "deviation"))
        except OverflowError as error:
            raise ValueError(f"statistics that are no numbers: {error}") from error
        means, deviations = np.atleast_1d(mean), np.atleast_1d(deviation)
        within = np.all((means >= 0) & (means <= 1)) and np.all((deviations >= LEAST_DEVIATION) & (deviations <= 1))
        if len(means) != channels or len(deviations) != channels or not within:
            raise ValueError(f"statistics {mean} and {deviation} of {channels} channels")
        return cls(mean, deviation)

    def with_min_deviation(self) -> Self:
        """The same with deviations of at least MIN_DEVIATION."""
        raised = [max(each, MIN_DEVIATION) for each in np.atleast_1d(self.std).tolist()]
        return replace(self, std=_levels(raised))

    @property
    def warning(self) -> str:
        """What to say of channels whose deviation was raised; empty without one."""
        deviations = np.atleast_1d(self.std)
        if not (low := [str(place) for place, each in enumerate(deviations, start=1) if each <= MIN_DEVIATION]):
            return ""
        which = f"channel {' and '.join(low)} of {len(deviations)}" if len(deviations) > 1 else "the pixels"
        return f"{which}: hardly any contrast in the training images; a deviation of {MIN_DEVIATION} is assumed"

    def to_dict(self) -> dict[str, Any]:
        """What `from_dict` reads."""
        facts = {"mean": self.mean, "deviation": self.std}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) uint8 to float, mean 0 and deviation 1 in each channel, channels last.

        Raises UsageError for pixels that are no bytes: they may be normalised already.
        """
        if images.dtype != torch.uint8:
            raise UsageError(
                f"images of {images.dtype}, which may be normalised already; give the pixels, uint8 from 0 to 255"
            )
        scaled = (images.float() / 255 - _spread(self.mean, images)) / _spread(self.std, images)
        return scaled.contiguous(memory_format=torch.channels_last)


def _statistics(counts: Tensor) -> tuple[float, float]:
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = float((counts * values).sum() / counts.sum())
    square = float((counts * values.square()).sum() / counts.sum())
    return mean, max(square - mean**2, 1e-12) ** 0.5


def _levels(values: Any) -> ChannelStats:
    several = tuple(map(float, values)) if isinstance(values, list | tuple) else (float(values),)
    return several if several[1:] else several[0]


def _spread(levels: ChannelStats, images: Tensor) -> float | Tensor:
    """Over the channels; a single one stays a number, as its rounding is that of all earlier models."""
    if not isinstance(levels, tuple):
        return levels
    return torch.tensor(levels).to(images.device, non_blocking=True)[:, None, None]
