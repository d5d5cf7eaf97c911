"""Images (N, C, H, W) float in, logits (N, classes) out."""

from collections.abc import Callable

from torch import Tensor, nn


def linear(channels: int, side: int, classes: int) -> nn.Module:
    """One matrix."""
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * side**2, classes))


def conv(channels: int, side: int, classes: int) -> nn.Module:
    """Three convolutions with batch normalisation; a head without a bias."""
    return nn.Sequential(
        *(*_layer(channels, 32), nn.MaxPool2d(2)),
        *(*_layer(32, 64), nn.MaxPool2d(2)),
        *(*_layer(64, 128), nn.MaxPool2d(side // 4)),
        nn.Flatten(),
        nn.Linear(128, classes, bias=False),
    )


def residual(channels: int, side: int, classes: int) -> nn.Module:
    """The same with x + f(x) behind the second."""
    body = list(conv(channels, side, classes).children())
    return nn.Sequential(*body[:8], Residual(64), *body[8:])


class Residual(nn.Module):
    """x + f(x), with f a layer."""

    def __init__(self, channels: int) -> None:
        """Make f."""
        super().__init__()
        self.f = nn.Sequential(*_layer(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.f(x)  # type: ignore[no-any-return]


def _layer(channels: int, width: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()


NETWORKS: dict[str, Callable[[int, int, int], nn.Module]] = {"linear": linear, "conv": conv, "residual": residual}
