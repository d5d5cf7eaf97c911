"""What a card and a table say of categories that were not tested."""

import torch

from samebench.tasks.image_classification import card, evaluation

NAMES = ("boot", "coat", "hat_")
MATRIX = torch.tensor([[3, 1, 0], [0, 4, 0], [0, 0, 0]])


def test_a_category_without_test_images_is_not_the_weakest_and_is_named() -> None:
    assert card.weakest(MATRIX, NAMES) == "boot, of which 75.0% are found; 25.0% are taken for coat"
    assert card.untested(MATRIX, NAMES) == "Not tested, as there are no test images: hat\\_"
    assert card.untested(MATRIX[:2, :2], NAMES[:2]) == ""


def test_the_table_has_no_figures_of_a_category_without_images() -> None:
    *_, last = evaluation.table(MATRIX, NAMES).splitlines()
    assert last.split() == ["hat_", *["not", "tested"] * 3, "0"]
