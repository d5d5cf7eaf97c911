"""What to know about a data set before trusting it, and about a model before believing it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from samebench.tasks.image_classification.image_data import Split
from samebench.training.sample_random import order

BLOCK = 500  # images that are compared with others at a time
BLOCK_PIXELS = 2_000_000  # that are made coarser at a time


def sample(split: Split, *, max_bytes: int = 128 << 20) -> Split:
    """The images, or of a larger split as many of them as have so many bytes, drawn at random: always the same ones."""
    most = max(1, max_bytes // split.images[0].nbytes)
    if len(split) <= most:
        return split
    drawn = order(len(split), seed=0, epoch=0, purpose="sample")[:most]
    return split.select(drawn.sort().values)


def near_duplicates(images: Tensor, *, within: float) -> tuple[Tensor, Tensor]:
    """Every pair (M, 2) of images (N, C, H, W) whose pixels differ by `within` or less, nearest first.

    The difference (M,) is the root mean square over the pixels, 0 to 255; 0 is a duplicate. Nothing is missed:
    the mean of a square of pixels can't differ by more than the pixels do, and neither can one direction of those
    means, along which the images are sorted so that only neighbours are compared.
    """
    cells = max(4, images.shape[-1] // 8)
    coarse = _coarse(images, cells, torch.arange(len(images)))
    coarse -= coarse.mean(0)
    values, vectors = torch.linalg.eigh(coarse.T @ coarse)
    ranked = (coarse @ vectors[:, values.argmax()]).sort()
    radius = within * (images[0].numel() / cells**2) ** 0.5 + 0.01  # the rounding of a float32 sum stays below it
    pairs = torch.cat(list(_close(coarse[ranked.indices], ranked.values, radius)))
    pairs = ranked.indices[pairs].sort(1).values
    distances = torch.empty(len(pairs))
    for places in torch.split(torch.arange(len(pairs)), _block_size(images)):
        distances[places] = _difference(images, pairs[places])
    nearest = distances.argsort(stable=True)
    nearest = nearest[distances[nearest] <= within]
    return pairs[nearest], distances[nearest]


def _coarse(
    images: Tensor, cells: int, places: Tensor, project: Callable[[Tensor], Tensor] = lambda block: block
) -> Tensor:
    """The means of `cells` x `cells` pixels (M, D) float32 of the images (N, C, H, W) at `places` (M,).

    With `project`, what it makes of each block of these (m, D). Each block is written into a tensor of all:
    small results that stay between large tensors would keep the allocator from using the memory of these again.
    """
    size = _block_size(images)
    result = torch.empty(0)
    for start in range(0, len(places), size):
        block = project(avg_pool2d(images[places[start : start + size]].float(), cells).flatten(1))
        if not start:
            result = block.new_empty(len(places), block.shape[1])
        result[start : start + size] = block
    return result


def _close(points: Tensor, keys: Tensor, radius: float) -> Iterator[Tensor]:
    """Pairs (M, 2) of rows of points (N, D) not further apart than `radius`; keys (N,) rise and are as near."""
    squares = points.square().sum(1)
    slack = 1e-5 * float(squares.max())  # |a|² + |b|² - 2ab cancels digits that float32 does not have
    for start in range(0, len(points), BLOCK):
        end = min(start + BLOCK, len(points))
        stop = int(torch.searchsorted(keys, keys[end - 1] + radius, right=True))
        products = points[start:end] @ points[start:stop].T
        apart = squares[start:end, None] + squares[None, start:stop] - 2 * products
        pairs = (apart <= radius**2 + slack).nonzero()
        yield pairs[pairs[:, 1] > pairs[:, 0]] + start


def _block_size(images: Tensor) -> int:
    """How many images (N, C, H, W) are computed with at a time."""
    return min(BLOCK, max(1, BLOCK_PIXELS // images[0].numel()))


def _difference(images: Tensor, pairs: Tensor) -> Tensor:
    first, second = images[pairs[:, 0]].float(), images[pairs[:, 1]].float()
    return (first - second).square().flatten(1).mean(1).sqrt()


def votes(split: Split, *, neighbours: int = 10, references: int = 6000) -> Tensor:
    """The labels (N, neighbours) of each image's nearest neighbours, nearest first; an image is no neighbour of itself.

    Neighbours are sought among `references` images, at half the resolution (at most some 14 pixels a side) and along
    the 32 main directions of these.
    """
    coarser = max(2, split.images.shape[-1] // 14)
    chosen = order(len(split), seed=0, epoch=0, purpose="references")[:references]
    sample = _coarse(split.images, coarser, chosen)
    centre = sample.mean(0)
    directions = torch.linalg.eigh((sample - centre).T @ (sample - centre)).eigenvectors[:, -32:]
    everywhere = torch.arange(len(split))
    points = _coarse(split.images, coarser, everywhere, lambda block: (block - centre) @ directions)
    squares, labels = points[chosen].square().sum(1), split.labels[chosen]
    result = torch.empty(len(split), min(neighbours, len(chosen) - 1), dtype=labels.dtype)
    for places in torch.split(torch.arange(len(split)), BLOCK):
        apart = squares - 2 * points[places] @ points[chosen].T
        apart.masked_fill_(places[:, None] == chosen, float("inf"))
        result[places] = labels[apart.topk(result.shape[1], largest=False).indices]
    return result


def suspects(split: Split, votes: Tensor) -> tuple[Tensor, Tensor]:
    """The images (M,) whose neighbours' labels (N, neighbours) are all one that is not theirs, and that label (M,)."""
    if not votes.shape[1]:  # an image alone has no neighbours
        return torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64)
    first = votes[:, 0]
    places = ((votes == votes[:, :1]).all(1) & (first != split.labels)).nonzero().squeeze(1)
    return places, first[places]


@dataclass(frozen=True)
class Calibration:
    """In bins of equal width over the confidence: how many images, how sure and how right, 0 to 1."""

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """Expected calibration error, 0 to 1, as Guo et al. (2017) define it."""
        gaps = (self.confidence - self.accuracy).abs()
        return float((self.counts * gaps).sum() / self.counts.sum())

    @property
    def overconfidence(self) -> float:
        """Mean confidence less accuracy: above 0 the model is too sure, below 0 too modest."""
        return float((self.counts * (self.confidence - self.accuracy)).sum() / self.counts.sum())


def calibration(probabilities: Tensor, labels: Tensor, *, bins: int = 10) -> Calibration:
    """Hold the confidence of probabilities (N, 10) against labels (N,)."""
    confidence, predicted = probabilities.double().max(1)
    places = (confidence * bins).long().clamp_max(bins - 1)
    counts = torch.bincount(places, minlength=bins)
    met = counts.clamp_min(1)
    sure = torch.bincount(places, weights=confidence, minlength=bins) / met
    right = torch.bincount(places, weights=(predicted == labels).double(), minlength=bins) / met
    return Calibration(counts, sure, right)


def confusion(labels: Tensor, predicted: Tensor, *, categories: int) -> Tensor:
    """How often (categories, categories) a label, the row, was predicted as a category, the column."""
    return torch.bincount(labels * categories + predicted, minlength=categories**2).view(categories, categories)


def worst(probabilities: Tensor, labels: Tensor) -> Tensor:
    """The images (M,) that were taken for something else, the most confident mistake first."""
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().squeeze(1)
    return wrong[confidence[wrong].argsort(descending=True, stable=True)]
