"""McNemar's exact test: figures of the binomial table, and what comes of adding up the binomial by hand."""

import math
from fractions import Fraction

import pytest
import torch

from samebench.runs.significance import McNemarResult, PermutationResult, compare


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
        (McNemarResult(0, 0), "right about the same examples"),
    ],
)
def test_verdict_is_told_in_plain_words(discord: McNemarResult, said: str) -> None:
    assert str(discord).startswith(said)


def test_verdict_carries_its_figures() -> None:
    assert str(McNemarResult(1200, 1300)).endswith(
        ": it alone is right about 1,200 examples, the other alone about 1,300 "
        "(n01 = 1200, n10 = 1300, p = 0.048, McNemar's exact test)"
    )


def test_values_of_examples_have_a_permutation_test() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(2000, generator=generator)
    noise = torch.randn(2000, generator=generator)
    better, same = compare(first, first + 0.1 * noise + 0.05, metric="rmse"), compare(first, first, metric="rmse")
    assert isinstance(better, PermutationResult)
    assert (better.is_significant, better.difference > 0) == (True, True)
    assert str(better).startswith("better by more than chance at 5 %: on 2,000 examples the mean differs by 0.047")
    assert str(compare(first, first + 0.1 * (noise - noise.mean()) + 0.001, metric="rmse")).startswith(
        "may be chance: "
    )
    assert str(compare(first, first - 0.1, metric="rmse")).startswith("worse by more than chance at 5 %: ")
    assert str(same) == "the same rmse on the same examples"
    assert better == compare(first, first + 0.1 * noise + 0.05, metric="rmse"), "the same permutations each time"


def test_few_values_have_the_p_of_all_their_permutations() -> None:
    found = compare(torch.zeros(5), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), metric="rmse")
    assert isinstance(found, PermutationResult)
    assert found.p == pytest.approx(2 / 2**5, abs=0.01), "only all signs alike are as extreme"


def test_equally_good_models_are_told_apart_in_one_of_twenty_pairs() -> None:
    generator = torch.Generator().manual_seed(1)
    pairs = (torch.randn(2, 200, generator=generator) for _ in range(200))
    found = sum(compare(first, second, metric="rmse").is_significant for first, second in pairs)
    assert 2 <= found <= 22
