"""Random numbers as functions of (seed, epoch, index), which no worker, order or restart can change."""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def key(*, seed: int, epoch: int, purpose: str) -> int:
    """One 64-bit number for what is drawn: 0 to 2**64 - 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{epoch}/{purpose}".encode()).digest()[:8], "little")


def bits(indices: NDArray[np.int64], *, seed: int, epoch: int, purpose: str) -> NDArray[np.uint64]:
    """64 random bits for each index (N,): the counter-based splitmix64 of Steele, Lea and Flood (2014)."""
    z = indices.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        key(seed=seed, epoch=epoch, purpose=purpose)
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(indices: NDArray[np.int64], *, seed: int, epoch: int, purpose: str) -> NDArray[np.float64]:
    """A number in [0, 1) for each index (N,)."""
    high = bits(indices, seed=seed, epoch=epoch, purpose=purpose) >> np.uint64(11)
    return high.astype(np.float64) * 2.0**-53


def integers(indices: NDArray[np.int64], *, below: int, seed: int, epoch: int, purpose: str) -> NDArray[np.int64]:
    """A whole number in [0, below) for each index (N,)."""
    draws = uniform(indices, seed=seed, epoch=epoch, purpose=purpose)
    return np.floor(draws * below).astype(np.int64)


def order(count: int, *, seed: int, epoch: int, purpose: str) -> Tensor:
    """A permutation (count,) of 0 to count - 1."""
    return torch.from_numpy(np.argsort(bits(np.arange(count), seed=seed, epoch=epoch, purpose=purpose), kind="stable"))
