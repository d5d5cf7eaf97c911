"""A model: a network with its labels and the preprocessing it was trained with."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from apparel import networks
from samebench import files, sealed
from samebench.command import Refusal

BATCH = 1000


@dataclass(frozen=True)
class Preprocessing:
    """Mean and standard deviation of the training pixels, on the scale 0 to 1."""

    mean: float
    deviation: float

    @classmethod
    def of(cls, images: Tensor) -> Self:
        """The statistics of images (N, 1, 28, 28) uint8; from a histogram, hence exact in any order."""
        counts = torch.bincount(images.flatten(), minlength=256).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean = float((counts * values).sum() / counts.sum())
        square = float((counts * values.square()).sum() / counts.sum())
        return cls(mean, max(square - mean**2, 1e-12) ** 0.5)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) uint8 to float, mean 0 and deviation 1, channels last."""
        scaled = (images.float() / 255 - self.mean) / self.deviation
        return scaled.contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Model:
    """What can be asked: `predict` takes raw pixels, so that they can't be normalised wrongly."""

    name: networks.Name
    network: nn.Module
    labels: Sequence[str]
    preprocessing: Preprocessing

    def predict(self, images: Tensor) -> Tensor:
        """Probabilities (N, 10) for images (N, 1, 28, 28) uint8."""
        return self.logits(images).softmax(1)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """What the network says (N, 10) of images (N, 1, 28, 28) uint8, in batches of a fixed size."""
        self.network.eval()
        device = next(self.network.parameters()).device
        logits = [self.network(self.preprocessing(batch.to(device))) for batch in torch.split(images, BATCH)]
        return torch.cat(logits).float().cpu()

    def save(self, path: Path) -> None:
        """Write the sealed weights to `path`, and beside them the same facts, less the weights, as JSON."""
        facts = {
            "network": self.name,
            "labels": list(self.labels),
            "mean": self.preprocessing.mean,
            "deviation": self.preprocessing.deviation,
        }
        files.write(path, sealed.pack("model", self.network.state_dict(), facts))
        readable = json.dumps(facts | {"weights_sha256": self.digest()}, indent=2) + "\n"
        files.write(path.with_suffix(".json"), readable.encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """The model saved at `path`. Raises Refusal for a missing or damaged file, before any parsing."""
        weights, facts = sealed.unpack(path, "model")
        try:
            network = networks.make(facts["network"], seed=0)
            network.load_state_dict(weights)
            preprocessing = Preprocessing(float(facts["mean"]), float(facts["deviation"]))
            return cls(facts["network"], network, tuple(map(str, facts["labels"])), preprocessing)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise Refusal(f"{path}: not a model of this code ({_first_line(error)}); train one with it") from error

    def digest(self) -> str:
        """SHA-256 over the names, types, shapes and bytes of the weights, in the order of their names."""
        content = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
