"""The plain way to train, as many tutorials have it, to measure ours against: a DataLoader that prepares each image.

python -m benchmarks._plain_training DATA EPOCHS DEVICE CORES

Our default network, batches, rates and augmentation, at torch's own speed. Prints the seconds of each epoch, with its
validation, and the test accuracy, as JSON.
"""

import json
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from apparel import data
from apparel.settings import Settings
from apparel.task import TASK
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.training.model import build_network

SETTINGS = Settings()


class Prepared(Dataset[tuple[Tensor, Tensor]]):
    """Images as a tutorial prepares them, one at a time."""

    def __init__(self, split: Split, known: Data, *, augmented: bool) -> None:
        """Of a split of `known`."""
        self.split, self.augmented = split, augmented
        self.mean, self.deviation = map(torch.tensor, (known.preprocessing.mean, known.preprocessing.std))

    def __len__(self) -> int:
        """Number of images."""
        return len(self.split)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Image (1, 28, 28) float, and its label."""
        image = self.split.images[place]
        if self.augmented:
            top, left = torch.randint(3, (2,)).tolist()
            image = functional.pad(image, (1, 1, 1, 1))[:, top : top + 28, left : left + 28]
            image = image.flip(2) if torch.rand(()) < 0.5 else image
        return (image.float() / 255 - self.mean) / self.deviation, self.split.labels[place]


@torch.inference_mode()
def accuracy(network: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], device: torch.device) -> float:
    """Share of the images that the network has right."""
    network.eval()
    right = sum(int((network(images.to(device)).argmax(1) == labels.to(device)).sum()) for images, labels in loader)
    return right / len(loader.dataset)  # type: ignore[arg-type]


def main(source: str, epochs: int, device: torch.device, cores: int) -> None:
    """Train, and print."""
    torch.set_num_threads(cores)
    known = data.load(source)
    helpers = {"num_workers": cores, "pin_memory": True, "persistent_workers": True} if device.type == "cuda" else {}

    def loader(split: Split, *, training: bool) -> DataLoader[tuple[Tensor, Tensor]]:
        prepared = Prepared(split, known, augmented=training)
        return DataLoader(prepared, SETTINGS.batch_size, shuffle=training, drop_last=training, **helpers)  # type: ignore[arg-type]

    batches, held_out = loader(known.training, training=True), loader(known.validation, training=False)
    network = build_network(TASK, SETTINGS, known.spec).to(device)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=SETTINGS.lr, momentum=0.9, nesterov=True, weight_decay=SETTINGS.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, SETTINGS.lr, total_steps=len(batches) * epochs, pct_start=0.2, anneal_strategy="linear"
    )
    seconds = []
    for _ in range(epochs):
        begun = time.monotonic()
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            logits = network(images.to(device))
            loss = functional.cross_entropy(logits, labels.to(device), label_smoothing=SETTINGS.label_smoothing)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        accuracy(network, held_out, device)
        seconds.append(time.monotonic() - begun)
    test_accuracy = accuracy(network, loader(known.test(), training=False), device)
    print(json.dumps({"seconds": seconds, "metrics": {"test": {"accuracy": test_accuracy}}}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), torch.device(sys.argv[3]), int(sys.argv[4]))
