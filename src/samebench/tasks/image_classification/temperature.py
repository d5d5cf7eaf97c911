"""How sure an artifact may be: its confidences are calibrated on the validation images, and very low ones doubted."""

import numpy as np
import torch
from torch import Tensor

DOUBTFUL_SHARE = 0.01  # of the validation images: their confidence is the floor below which we doubt
MIN_IMAGES = 200  # validation images to calibrate with: of fewer, the temperature fits their chance
TEMPERATURES = 0.2, 5.0  # what lies beyond is no miscalibration but a set too easy, or too strange, to fit
CHUNK = 8192  # images whose logits are in memory at a time
HIGHEST_THRESHOLD = 0.999  # highest floor: a good answer is rarely surer


def calibrate(logits: Tensor, labels: Tensor) -> tuple[float, float]:
    """The temperature, and the confidence below which an answer is doubted, of the validation images' logits (N, 10).

    Of fewer than MIN_IMAGES both say nothing: 1 and 0.
    """
    if len(labels) < MIN_IMAGES:
        return 1.0, 0.0
    temperature = fit_temperature(logits, labels)
    confidences = torch.empty(len(logits))
    for places in torch.split(torch.arange(len(logits)), CHUNK):
        confidences[places] = (logits[places] / temperature).softmax(1).amax(1)
    doubted = float(np.quantile(confidences.numpy(), DOUBTFUL_SHARE))  # torch's takes no more than 16 million
    return temperature, min(round(doubted, 3), HIGHEST_THRESHOLD)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """What to divide logits (N, 10) by for the lowest loss, after Guo et al. (2017); to three decimals.

    It is within TEMPERATURES. The loss is convex in 1/T: Newton's method, in double precision.
    """
    lowest, highest = TEMPERATURES
    inverse = torch.tensor(1.0, dtype=torch.float64)
    true = sum(part.double().sum() for part in torch.split(logits.gather(1, labels[:, None]), CHUNK)) / len(labels)
    for _ in range(50):
        sums = torch.zeros(2, dtype=torch.float64)
        for part in map(Tensor.double, torch.split(logits, CHUNK)):
            shares = (part * inverse).softmax(1)
            means = (shares * part).sum(1)
            variances = (shares * part.square()).sum(1) - means.square()
            sums += torch.stack([means.sum(), variances.sum()])
        mean, curvature = sums / len(labels)
        step = ((mean - true) / curvature.clamp_min(1e-12)).clamp(-inverse / 2, inverse)
        inverse = (inverse - step).clamp(1 / highest, 1 / lowest)
    return round(float(1 / inverse), 3)
