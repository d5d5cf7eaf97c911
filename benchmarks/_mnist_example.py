"""The well-known example of a network for MNIST, on Fashion-MNIST: what ours is compared with.

python -m benchmarks._mnist_example DATA EPOCHS SEED START

Two 3x3 convolutions of 32 and 64 channels, max pooling, dropout of 0.25 and 0.5, 128 hidden neurons; Adadelta with the
rate 1, times 0.7 after each epoch; batches of 64 from a DataLoader that transforms each image. Prints a line of JSON
for each epoch: CPU seconds, seconds since START (a Unix time), both without the tests, and the test accuracy.
"""

import json
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from apparel import data
from samebench.tasks.image_classification.image_data import Split

MEAN, DEVIATION = 0.2860, 0.3530  # of the training images, 0 to 1
BATCH, TEST_BATCH = 64, 1000


class Transformed(Dataset[tuple[Tensor, Tensor]]):
    """Images that are transformed one at a time."""

    def __init__(self, *splits: Split) -> None:
        """The images of all splits."""
        self.images = torch.cat([split.images for split in splits])
        self.labels = torch.cat([split.labels for split in splits])

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        """Image (1, 28, 28) float, and its label."""
        return (self.images[place].float() / 255 - MEAN) / DEVIATION, self.labels[place]


def build_network() -> nn.Sequential:
    """Images (N, 1, 28, 28) in, logarithms of probabilities (N, 10) out."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)),
        *(nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10), nn.LogSoftmax(1)),
    )


def main(source: str, epochs: int, seed: int, start: float) -> None:
    """Train on all 60,000 training images, and print."""
    torch.manual_seed(seed)
    dataset = data.load(source)
    batches = DataLoader(Transformed(dataset.training, dataset.validation), BATCH, shuffle=True)
    test = DataLoader(Transformed(dataset.test()), TEST_BATCH)
    network = build_network()
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    test_cpu = test_wall = 0.0
    for _ in range(epochs):
        network.train()
        for images, labels in batches:
            optimizer.zero_grad()
            functional.nll_loss(network(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        schedule.step()
        cpu, wall = time.process_time(), time.time()
        network.eval()
        with torch.inference_mode():
            right = sum(int((network(images).argmax(1) == labels).sum()) for images, labels in test)
        figures = {"cpu": cpu - test_cpu, "wall": wall - start - test_wall, "test_accuracy": right / 10_000}
        print(json.dumps(figures), flush=True)
        test_cpu, test_wall = test_cpu + time.process_time() - cpu, test_wall + time.time() - wall


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
