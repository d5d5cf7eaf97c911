"""Pictures of a network on its way: what they show, how many there are, and what they cost."""

import io

import pytest
import torch
from PIL import Image

from samebench.tasks.image_classification import training_figures
from samebench.tasks.image_classification.image_data import Split
from samebench.training.loop import MAX_FIGURES, has_figures
from tiny import data
from tiny.data import LABELS


def seen(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    assert picture.format == "PNG"
    return picture.convert("RGB")


@pytest.fixture(scope="module")
def split() -> Split:
    return data.synthetic(0).training


def certain(labels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, len(LABELS)).float()


def test_right_answers_are_dark_on_the_diagonal_and_nowhere_else(split: Split) -> None:
    picture = seen(training_figures.draw(split, certain(split.labels), LABELS)["confusion_matrix"])
    corner = [[picture.getpixel((112 + 42 * x, 32 + 42 * y)) for x in range(10)] for y in range(10)]
    for y, row in enumerate(corner):
        assert {x for x, colour in enumerate(row) if colour == (0x00, 0x72, 0xB2)} == {y}
        assert row.count((255, 255, 255)) == 9


def test_a_mistake_stands_in_the_row_of_its_label(split: Split) -> None:
    taken = split.labels.clone()
    taken[split.labels == 6] = 0
    picture = seen(training_figures.draw(split, certain(taken), LABELS)["confusion_matrix"])
    assert picture.getpixel((112, 32 + 6 * 42)) == (0x00, 0x72, 0xB2)
    assert picture.getpixel((112 + 6 * 42, 32 + 6 * 42)) == (255, 255, 255)


def test_the_most_confident_mistake_comes_first(split: Split) -> None:
    probabilities = certain(split.labels)
    for place, sure in ((3, 0.6), (5, 0.9)):
        probabilities[place] = certain((split.labels[[place]] + 1) % 10)[0] * sure
    picture = seen(training_figures.draw_mistakes(split, probabilities, LABELS))
    first = picture.crop((8, 64, 8 + training_figures.SIDE, 64 + training_figures.SIDE))
    expected = Image.fromarray(split.images[5, 0].numpy()).convert("RGB").resize(first.size, Image.Resampling.NEAREST)
    assert first.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
@pytest.mark.parametrize("count", [2, 10, 100, 300, 3000])
def test_other_images_and_more_categories_are_drawn_too(shape: tuple[int, int, int], count: int) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (200, *shape), generator=draw).to(torch.uint8)
    labels = torch.randint(0, count, (200,), generator=draw)
    names = [f"a category with a long name {number}" for number in range(count)]
    drawn = training_figures.draw(Split(images, labels), torch.rand(200, count, generator=draw), names)
    assert all(max(seen(content).size) < 1200 and len(content) < 300_000 for content in drawn.values())


def test_however_many_epochs_there_are_few_of_them_have_pictures_and_the_last_one_has() -> None:
    for epochs in (1, 2, 6, 40, 41, 1000, 99_999):
        drawn = [epoch for epoch in range(1, epochs + 1) if has_figures(epoch, epochs=epochs)]
        assert len(drawn) <= MAX_FIGURES + 1
        assert drawn[-1] == epochs
    assert [has_figures(epoch, epochs=6) for epoch in range(1, 7)] == [True] * 6
