"""Whether the difference between two models is more than chance, by the same images asked of both.

McNemar, Note on the sampling error of the difference between correlated proportions or percentages, Psychometrika 12
(1947); for classifiers that were trained once Dietterich, Approximate statistical tests for comparing supervised
classification learning algorithms, Neural Computation 10 (1998), whose test this is, with the exact binomial in the
place of its approximation.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class McNemarResult:
    """How many images only the second model gets right (n01), and how many only the first (n10)."""

    n01: int
    n10: int

    @classmethod
    def of(cls, first: Tensor, second: Tensor) -> "McNemarResult":
        """Of which images (N,) bool, the same for both, each model gets right."""
        return cls(int((second & ~first).sum()), int((first & ~second).sum()))

    @property
    def p(self) -> float:
        """How likely two equally good models disagree as unevenly as this or more, 0 to 1: two-sided and exact.

        In whole numbers until the last division, so right to the last bit of a float for any number of images.
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
            return "right about the same images"
        kind = "better" if self.n01 > self.n10 else "worse"
        verdict = f"{kind} by more than chance at 5 %" if self.is_significant else "may be chance"
        return (
            f"{verdict}: it alone is right about {self.n01:,} images, the other alone about {self.n10:,} "
            f"(n01 = {self.n01}, n10 = {self.n10}, p {_probability(self.p)}, McNemar's exact test)"
        )


def _probability(p: float) -> str:
    return f"= {p:.2g}" if p >= 1e-300 else "< 1e-300"
