"""Small changes to an image that leave its category, each a function of (seed, epoch, index)."""

import torch
from torch import Tensor

from samebench.training.task import SampleRandom

SHIFT = 1


def augment(images: Tensor, random: SampleRandom, *, blank: int | None = 0) -> Tensor:
    """Images (N, C, H, W) flipped left to right by a coin and shifted by up to SHIFT pixels.

    What comes in at an edge is `blank`, 0 to 255, or for None the edge's own pixels again.

    What is drawn is drawn on the CPU, what is done with the pixels is done where the images are.
    """
    device, side = images.device, images.shape[-1]

    def draw(purpose: str, below: int) -> Tensor:
        return random.integers(purpose, below).to(device, non_blocking=True)[:, None]

    step = torch.arange(side, device=device)
    down = draw("rows", 2 * SHIFT + 1) + step
    across = torch.where(draw("flip", 2) == 1, step.flip(0), step) + draw("columns", 2 * SHIFT + 1)
    if blank is None:
        down, across = ((each - SHIFT).clamp(0, side - 1) for each in (down, across))
        pixels = (down * side)[:, :, None] + across[:, None, :]
        padded = images.flatten(2)
    else:
        pixels = (down * (side + 2 * SHIFT))[:, :, None] + across[:, None, :]
        padded = torch.nn.functional.pad(images, (SHIFT,) * 4, value=blank).flatten(2)
    return padded.gather(2, pixels.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view_as(images)
