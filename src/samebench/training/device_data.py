"""The training examples on the device of the training: all of them where they fit, else a batch ahead."""

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from samebench.training.task import Batch, Dataset, Subset

MEMORY_SHARE = 0.5  # of the GPU's free memory that a data set may take


class DeviceData(ABC):
    """Examples on a device, by indices on the CPU."""

    @abstractmethod
    def get_batch(self, indices: Tensor) -> Batch:
        """The examples at `indices` (N,), on the device."""

    @abstractmethod
    def prefetch(self, indices: Tensor) -> None:
        """Begin to fetch what `get_batch` is called for next."""


class ResidentData(DeviceData):
    """All examples are on the device."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        """Copy them there."""
        self.dataset, self.device = dataset.to(device), device

    def get_batch(self, indices: Tensor) -> Batch:
        """See DeviceData."""
        return self.dataset.get_batch(indices.to(self.device, non_blocking=True))

    def prefetch(self, indices: Tensor) -> None:
        """Nothing is to be fetched."""


class StreamedData(DeviceData):
    """The examples stay where they are; a thread reads a batch ahead, into memory that the GPU copies from itself."""

    def __init__(self, dataset: Dataset, device: torch.device) -> None:
        """Begin without a batch."""
        self.dataset, self.device = dataset, device
        self._thread = ThreadPoolExecutor(1, "prefetch")
        self._next: tuple[Tensor, Future[Batch]] | None = None

    def get_batch(self, indices: Tensor) -> Batch:
        """See DeviceData."""
        expected, self._next = self._next, None
        is_prefetched = expected is not None and torch.equal(expected[0], indices)
        batch = expected[1].result() if expected and is_prefetched else self._read(indices)
        return {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}

    def prefetch(self, indices: Tensor) -> None:
        """See DeviceData."""
        self._next = indices, self._thread.submit(self._read, indices)

    def _read(self, indices: Tensor) -> Batch:
        batch = self.dataset.get_batch(indices)
        if self.device.type != "cuda":
            return batch
        return {name: tensor.pin_memory() for name, tensor in batch.items()}


def on_device(dataset: Dataset, device: torch.device) -> DeviceData:
    """The examples on `device`; on a GPU they are streamed if they would take more than MEMORY_SHARE of it."""
    if device.type != "cuda":
        return ResidentData(dataset, device)
    example = dataset.get_batch(torch.arange(1))
    whole = dataset.dataset if isinstance(dataset, Subset) else dataset  # `to` copies all of it
    size = len(whole) * sum(tensor.nbytes for tensor in example.values())
    free, _ = torch.cuda.mem_get_info(device)
    return ResidentData(dataset, device) if size <= MEMORY_SHARE * free else StreamedData(dataset, device)
