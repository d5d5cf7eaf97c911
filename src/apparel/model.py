"""A model: a network with its labels and the preprocessing it was trained with."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

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
from samebench.tasks.image_classification.preprocessing import Preprocessing

BATCH = 1000


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
