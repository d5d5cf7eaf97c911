"""What holds for the pictures of any project holds for garments, which are decoded otherwise."""

import pytest

from apparel.serving.garment import GARMENTS
from samebench.tasks.image_classification.image_transform import ImageTransform
from tests.serving.conftest import artifact, folder, images, run, server
from tests.serving.test_picture import (
    test_a_damaged_picture_is_unreadable_and_nothing_else,
    test_a_side_may_be_as_long_as_the_memory_for_its_pixels_allows,
    test_bombs_beside_the_pixels_of_a_picture_are_harmless,
)
from tests.serving.test_picture_files import (
    test_a_cut_picture_that_needs_no_conversion_is_damaged_too,
    test_a_picture_of_one_colour_or_none_has_nothing_to_see,
)
from tests.serving.test_png_files import test_a_transparent_value_counts_whatever_the_bits_of_a_level

__all__ = [  # fixtures, and tests
    "artifact",
    "folder",
    "images",
    "run",
    "server",
    "test_a_cut_picture_that_needs_no_conversion_is_damaged_too",
    "test_a_damaged_picture_is_unreadable_and_nothing_else",
    "test_a_picture_of_one_colour_or_none_has_nothing_to_see",
    "test_a_side_may_be_as_long_as_the_memory_for_its_pixels_allows",
    "test_a_transparent_value_counts_whatever_the_bits_of_a_level",
    "test_bombs_beside_the_pixels_of_a_picture_are_harmless",
]


@pytest.fixture
def preparation() -> ImageTransform:
    garments: ImageTransform = GARMENTS
    return garments
