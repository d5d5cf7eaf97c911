"""A model: a network with its labels and the preprocessing it was trained with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from apparel import networks
from apparel.serve.garment import GARMENTS, transform_from_dict
from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import checked_safetensors
from samebench.runs import receipt, run_files
from samebench.runs.run import Run
from samebench.tasks.image_classification.image_transform import ImageTransform

BATCH = 1000
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
        means, deviations = zip(*(_statistics(images[:, each]) for each in range(images.shape[1])), strict=True)
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
        """What `told` reads."""
        told = {"mean": self.mean, "deviation": self.std}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}

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


def _statistics(pixels: Tensor) -> tuple[float, float]:
    counts = torch.bincount(pixels.flatten(), minlength=256).double()
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


def build_network(name: networks.Name, *, seed: int, labels: Sequence[str], preparation: ImageTransform) -> nn.Module:
    """A network of this name for these labels and for pictures that are so prepared, its weights drawn from `seed`."""
    channels, side = preparation.channels, preparation.side
    return networks.make(name, seed=seed, channels=channels, side=side, categories=len(labels))


@dataclass(frozen=True)
class Model:
    """What can be asked: `predict` takes raw pixels, so that they can't be normalised wrongly."""

    name: networks.Name
    network: nn.Module
    labels: Sequence[str]
    preprocessing: Preprocessing
    preparation: ImageTransform = GARMENTS  # of the pictures that it was trained with

    def __post_init__(self) -> None:
        """Bind the network, and every copy of it, to the preprocessing.

        Raises UsageError where it is bound to another.
        """
        bound = self.network.__dict__.setdefault("preprocessing", self.preprocessing)
        if bound != self.preprocessing:
            remedy = "take over the whole model"
            raise UsageError(f"a network that was trained with {bound} can't have {self.preprocessing}; {remedy}")

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, labels) for images (N, C, H, W) uint8."""
        return self.logits(images).softmax(1)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """What the network says (N, labels) of images (N, C, H, W) uint8, in batches of a fixed size."""
        self.network.eval()
        device = next(self.network.parameters()).device
        logits = [self.network(self.preprocessing(batch.to(device))) for batch in torch.split(images, BATCH)]
        return torch.cat(logits).float().cpu()

    def save(self, path: Path) -> None:
        """Write the sealed weights to `path`, and beside them the same facts, less the weights, as JSON."""
        files.write(path, checked_safetensors.dumps("model", self.network.state_dict(), self.to_dict()))
        readable = json.dumps(self.to_dict() | {"weights_sha256": self.digest()}, indent=2) + "\n"
        files.write(path.with_suffix(".json"), readable.encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model saved at `path`. Raises UsageError for a missing or damaged file, before any parsing."""
        weights, facts = checked_safetensors.load(path, "model")
        try:
            _check_finite(weights)
            labels, preparation = _labels(facts["labels"]), transform_from_dict(facts)
            network = _filled(weights, facts["network"], seed=0, labels=labels, preparation=preparation)
            preprocessing = Preprocessing.from_dict(facts, channels=preparation.channels)
            return cls(facts["network"], network, labels, preprocessing, preparation)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"{path}: not a model of this code ({_first_line(error)}); train one with it") from error

    @classmethod
    def of_run(cls, run: Run) -> Self:
        """The model of `run`.

        Raises UsageError where it is not the one that the receipt of a run that is done names.
        """
        model = cls.load(run.weights)
        if run.receipt.get("state") != "done":
            return model
        if problem := run_files.find_uncommitted_problem(run.directory, run.receipt):
            raise UsageError(f"{run.directory}: {problem}; take the run from where it was trained")
        problem = run_files.describe_mismatch(model.digest(), run.receipt)
        if not problem and (recorded := run.receipt.get("model", model.to_dict())) != model.to_dict():
            problem = "; ".join(receipt.diff({"model": recorded}, {"model": model.to_dict()}, fields=["model"])[:3])
        if problem:
            raise UsageError(f"{run.weights}: {problem}; take the run from where it was trained")
        return model

    def to_dict(self) -> dict[str, Any]:
        """All but the weights, as JSON tells it."""
        return {
            "network": self.name,
            "labels": list(self.labels),
            **self.preprocessing.to_dict(),
            **self.preparation.to_dict(),
        }

    @torch.no_grad()
    def load_pretrained(self, other: "Model") -> int:
        """Have the weights of `other`, a model of the same network; of its head the rows of the labels that both know.

        The other rows stay as they are. Tells how many came along. Raises UsageError where its statistics are not ours.
        """
        if self.preprocessing != other.preprocessing:
            remedy = "its statistics must come along"
            raise UsageError(
                f"weights that were trained with {other.preprocessing}, taken over with {self.preprocessing}; {remedy}"
            )
        networks.body(self.network).load_state_dict(networks.body(other.network).state_dict())
        rows = [(row, other.labels.index(label)) for row, label in enumerate(self.labels) if label in other.labels]
        heads = (networks.head(each.network).parameters() for each in (self, other))
        for ours, theirs in zip(*heads, strict=True):
            for row, place in rows:
                ours[row].copy_(theirs[place])
        return len(rows)

    def digest(self) -> str:
        """SHA-256 over the names, types, shapes and bytes of the weights, in the order of their names."""
        content = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()


def _filled(weights: Mapping[str, Tensor], name: networks.Name, **rest: Any) -> nn.Module:
    """The network that `fresh` makes, with these weights. Raises ValueError where they are another's, unallocated."""
    with torch.device("meta"):  # takes no memory, whatever size it is told to have
        expected = build_network(name, **rest).state_dict()
    shapes = ({key: each.shape for key, each in tensors.items()} for tensors in (expected, weights))
    if next(shapes) != next(shapes):
        raise ValueError(f"other weights than the network {name} of its labels and pictures has")
    network = build_network(name, **rest)
    network.load_state_dict(weights)
    return network


def _labels(found: Any) -> tuple[str, ...]:
    """The labels in a model's facts. Raises ValueError for what is no list of different texts."""
    if not isinstance(found, list) or not found or len(set(map(str, found))) < len(found):
        raise ValueError("its labels are no list of different texts")
    return tuple(map(str, found))


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights with which every answer would be NaN."""
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{printable(name, longest=80)} has values that are no finite numbers")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
