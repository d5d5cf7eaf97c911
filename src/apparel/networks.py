"""Networks: image tensor (N, C, H, W) float in, logits (N, categories) out. They know no labels and no files.

Each is a sequence that ends in its head: a linear layer with a row for each category.
ReLU and Hardswish are plain arithmetic. Other activations and dropout come from samebench.training.layers:
torch's own GELU gave other weights under glibc 2.36 than under 2.41 from step 8 on.
"""

from collections.abc import Callable

from torch import Tensor, nn


def linear(channels: int, side: int, categories: int) -> nn.Module:
    """One matrix: what pixels alone can tell."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, categories))


def conv(channels: int, side: int, categories: int) -> nn.Module:
    """Three stages that halve the image; after the network of KellerJordan's cifar10-airbench, narrower."""
    return nn.Sequential(
        _stage(channels, 32),
        _stage(32, 64),
        # Pooled before it widens: 25 % less work than a third stage, and no less accurate.
        nn.MaxPool2d(2),
        _layer(64, 128),
        _layer(128, 128),
        nn.MaxPool2d(side // 8),  # all that three halvings have left
        nn.Flatten(),
        nn.Linear(128, categories, bias=False),
    )


def residual(channels: int, side: int, categories: int) -> nn.Module:
    """A small residual network, after He et al. (2015) and the nine-layer ones of David Page's DAWNBench."""
    return nn.Sequential(
        _pooled(channels, 32),
        _pooled(32, 64),
        Residual(64),
        _pooled(64, 128),
        Residual(128),
        nn.MaxPool2d(side // 8),
        nn.Flatten(),
        nn.Linear(128, categories, bias=False),
    )


class Residual(nn.Module):
    """x + f(x) with f two layers of as many channels."""

    def __init__(self, channels: int) -> None:
        """Make f."""
        super().__init__()
        self.f = nn.Sequential(_layer(channels, channels), _layer(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.f(x)  # type: ignore[no-any-return]


def _stage(channels: int, width: int) -> nn.Module:
    return nn.Sequential(_pooled(channels, width), _layer(width, width))


def _pooled(channels: int, width: int) -> nn.Module:
    # Pooled first, the normalisation and what follows have a quarter of the work.
    return nn.Sequential(_convolution(channels, width), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.ReLU())


def _layer(channels: int, width: int) -> nn.Module:
    return nn.Sequential(_convolution(channels, width), nn.BatchNorm2d(width), nn.ReLU())


def _convolution(channels: int, width: int) -> nn.Module:
    return nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False)


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"linear": linear, "conv": conv, "residual": residual}
