"""A data set whose examples are in memory."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TensorDataset:
    """Tensors by name; the first dimension (N, …) of each is the examples."""

    tensors: Mapping[str, Tensor]

    def __len__(self) -> int:
        """How many examples there are."""
        return len(next(iter(self.tensors.values())))

    def __getitem__(self, name: str) -> Tensor:
        """One of the tensors, whole."""
        return self.tensors[name]

    def get_batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The examples at `indices` (M,), or where a mask (N,) is true."""
        return {name: tensor[indices] for name, tensor in self.tensors.items()}

    def select(self, indices: Tensor) -> "TensorDataset":
        """A data set of the examples at `indices` (M,), or where a mask (N,) is true."""
        return TensorDataset(self.get_batch(indices))

    def to(self, device: torch.device) -> "TensorDataset":
        """The same on a device."""
        return TensorDataset({name: tensor.to(device) for name, tensor in self.tensors.items()})
