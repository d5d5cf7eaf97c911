"""Small changes to an image that leave its category, each a function of (seed, epoch, index)."""

import numpy as np
import torch
from torch import Tensor

from apparel.randomness import integers

SHIFT = 1


def augment(images: Tensor, indices: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Images (N, 1, 28, 28) flipped left to right by a coin and shifted by up to SHIFT pixels, edges black.

    `indices` (N,) are the images' places in the training set.
    """
    places = indices.numpy()
    draw = {"seed": seed, "epoch": epoch}
    rows = integers(places, below=2 * SHIFT + 1, purpose="rows", **draw)
    columns = integers(places, below=2 * SHIFT + 1, purpose="columns", **draw)
    flips = integers(places, below=2, purpose="flip", **draw)
    side = images.shape[-1]
    step = np.arange(side)
    across = np.where(flips[:, None] == 1, step[::-1], step) + columns[:, None]
    pixels = ((rows[:, None] + step) * (side + 2 * SHIFT))[:, :, None] + across[:, None, :]
    padded = torch.nn.functional.pad(images, (SHIFT,) * 4).flatten(1)
    return padded.gather(1, torch.from_numpy(pixels).flatten(1)).view_as(images)
