"""Whether the difference between two models is more than chance, by the same examples asked of both.

Right or wrong: McNemar's exact test. A value of each example, such as a squared error: a permutation test.

McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12
(1947); for classifiers that were trained once Dietterich, Approximate statistical tests for comparing supervised
classification learning algorithms, Neural Computation 10 (1998), whose test this is, with the exact binomial in the
place of its approximation. The permutation test is Fisher's (The Design of Experiments, 1935, section 21), with the p
of a sample of permutations as Phipson and Smyth (2010) count it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class McNemarResult:
    """How many examples only the second model gets right (n01), and how many only the first (n10)."""

    n01: int
    n10: int

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> "McNemarResult":
        """Of which examples (N,) bool, the same for both, each model gets right."""
        return cls(int((second & ~first).sum()), int((first & ~second).sum()))

    @property
    def p(self) -> float:
        """How likely two equally good models disagree as unevenly as this or more, 0 to 1: two-sided and exact.

        In whole numbers until the last division, so right to the last bit of a float for any number of examples.
        """
        count, fewer = self.n01 + self.n10, min(self.n01, self.n10)
        term = tail = 1
        for chosen in range(fewer):
            term = term * (count - chosen) // (chosen + 1)
            tail += term
        return min(2 * tail, 1 << count) / (1 << count)

    @property
    def is_significant(self) -> bool:
        """Whether it is more than chance at 5 %: less would be found in one of twenty pairs that are equally good."""
        return self.p < 0.05

    def __str__(self) -> str:
        """Of the second against the first, in plain words."""
        if self.n01 == self.n10 == 0:
            return "right about the same examples"
        kind = "better" if self.n01 > self.n10 else "worse"
        verdict = f"{kind} by more than chance at 5 %" if self.is_significant else "may be chance"
        return (
            f"{verdict}: it alone is right about {self.n01:,} examples, the other alone about {self.n10:,} "
            f"(n01 = {self.n01}, n10 = {self.n10}, p {_probability(self.p)}, McNemar's exact test)"
        )


SAMPLES = 10_000  # of all permutations
BLOCK = 1 << 22  # numbers at a time


@dataclass(frozen=True)
class PermutationResult:
    """By how much the second model is better than the first in the mean over `examples`, and how likely that is."""

    metric: str
    difference: float  # of the means; above 0: the second is better
    examples: int
    p: float  # how likely equally good models differ as much as this or more, 0 to 1: two-sided

    @classmethod
    def of(cls, first: Tensor, second: Tensor, *, metric: str) -> "PermutationResult":
        """Of the values (N,) of each example, higher for better; the same permutations each time."""
        differences = (second.double() - first.double()).numpy()
        random, count, extreme = np.random.Generator(np.random.PCG64(0)), len(differences), 0
        observed = abs(differences.sum())
        rows = max(1, BLOCK // max(1, count))
        for start in range(0, SAMPLES, rows):
            signs = random.integers(0, 2, size=(min(rows, SAMPLES - start), count), dtype=np.int8)
            sums = np.abs((2 * signs - 1) @ differences)
            extreme += int((sums >= observed * (1 - 1e-12)).sum())
        return cls(metric, float(differences.mean()), count, (extreme + 1) / (SAMPLES + 1))

    @property
    def is_significant(self) -> bool:
        """Whether it is more than chance at 5 %."""
        return self.p < 0.05

    def __str__(self) -> str:
        """Of the second against the first, in plain words."""
        if not self.difference:
            return f"the same {self.metric} on the same examples"
        kind = "better" if self.difference > 0 else "worse"
        verdict = f"{kind} by more than chance at 5 %" if self.is_significant else "may be chance"
        p = f"= {self.p:.2g}" if self.p > 1 / SAMPLES else f"< {1 / SAMPLES:g}"
        return (
            f"{verdict}: on {self.examples:,} examples the mean differs by {abs(self.difference):.4g} "
            f"(p {p}, permutation test of {self.metric})"
        )


PairedTest = McNemarResult | PermutationResult


def compare(first: Tensor, second: Tensor, *, metric: str) -> PairedTest:
    """The test that suits the values (N,) of two models, the same examples for both, higher for better."""
    if first.dtype == torch.bool:
        return McNemarResult.of(first, second)
    return PermutationResult.of(first, second, metric=metric)


def _probability(p: float) -> str:
    return f"= {p:.2g}" if p >= 1e-300 else "< 1e-300"
