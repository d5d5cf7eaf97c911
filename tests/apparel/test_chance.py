"""McNemar's exact test: figures of the binomial table, and what comes of adding up the binomial by hand."""

import math
from fractions import Fraction

import pytest
import torch

from samebench.runs.significance import McNemarResult


def test_images_that_only_one_gets_right_are_counted() -> None:
    first, second = torch.tensor([1, 1, 1, 0, 0, 1]).bool(), torch.tensor([1, 0, 0, 1, 0, 1]).bool()
    assert McNemarResult.of(first, second) == McNemarResult(n01=1, n10=2)


@pytest.mark.parametrize(
    ("n01", "n10", "p"),
    [(0, 0, 1), (1, 0, 1), (5, 5, 1), (4, 5, 1), (0, 5, 0.0625), (0, 6, 0.03125), (6, 0, 0.03125), (2, 8, 0.109375)],
)
def test_few_pairs_have_the_p_of_the_binomial_table(n01: int, n10: int, p: float) -> None:
    assert McNemarResult(n01, n10).p == p


@pytest.mark.parametrize(("n01", "n10"), [(59, 86), (400, 500), (4860, 5140)])
def test_p_is_right_to_the_last_bit_for_up_to_ten_thousand_pairs(n01: int, n10: int) -> None:
    count = n01 + n10
    tail = sum(math.comb(count, chosen) for chosen in range(min(n01, n10) + 1))
    assert McNemarResult(n01, n10).p == float(min(Fraction(1), Fraction(2 * tail, 2**count)))


def test_published_example_is_near_its_normal_approximation() -> None:
    # Agresti, Categorical Data Analysis (2013), table 11.1: 86 against 150, z = -4.17, hence p = 3.1e-5.
    assert McNemarResult(86, 150).p == pytest.approx(3.1e-5, rel=0.25)


def test_p_too_small_for_a_float_is_told_as_a_bound() -> None:
    assert McNemarResult(0, 10_000).p == 0
    assert "p < 1e-300" in str(McNemarResult(0, 10_000))


@pytest.mark.parametrize(
    ("discord", "said"),
    [
        (McNemarResult(40, 60), "may be chance: "),
        (McNemarResult(39, 61), "worse by more than chance at 5 %: "),
        (McNemarResult(61, 39), "better by more than chance at 5 %: "),
        (McNemarResult(0, 0), "right about the same images"),
    ],
)
def test_verdict_is_told_in_plain_words(discord: McNemarResult, said: str) -> None:
    assert str(discord).startswith(said)


def test_verdict_carries_its_figures() -> None:
    assert str(McNemarResult(1200, 1300)).endswith(
        ": it alone is right about 1,200 images, the other alone about 1,300 "
        "(n01 = 1200, n10 = 1300, p = 0.048, McNemar's exact test)"
    )
