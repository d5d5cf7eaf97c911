import torch

from samebench.tasks.image_classification.augmentation import SHIFT, augment
from samebench.training.task import SampleRandom


def images(count: int) -> torch.Tensor:
    return (torch.arange(count * 784) % 251).to(torch.uint8).view(count, 1, 28, 28)


def test_an_image_is_changed_by_its_place_and_not_by_its_neighbours() -> None:
    indices = torch.arange(40)
    together = augment(images(40), SampleRandom(1, 2, indices))
    alone = [
        augment(images(40)[place : place + 1], SampleRandom(1, 2, indices[place : place + 1])) for place in indices
    ]
    assert torch.equal(together, torch.cat(alone))


def test_another_epoch_and_another_seed_change_images_otherwise() -> None:
    first = augment(images(40), SampleRandom(1, 2, torch.arange(40)))
    assert not torch.equal(first, augment(images(40), SampleRandom(1, 3, torch.arange(40))))
    assert not torch.equal(first, augment(images(40), SampleRandom(2, 2, torch.arange(40))))


def test_every_image_is_a_flip_and_a_small_shift_of_itself() -> None:
    before = images(60)
    after = augment(before, SampleRandom(0, 1, torch.arange(60)))
    padded = torch.nn.functional.pad(before, (SHIFT,) * 4)
    met = set()
    for place in range(60):
        for flip in (False, True):
            for row in range(2 * SHIFT + 1):
                for column in range(2 * SHIFT + 1):
                    source = padded[place].flip(-1) if flip else padded[place]
                    if torch.equal(source[:, row : row + 28, column : column + 28], after[place]):
                        met.add((place, flip, row, column))
    assert {place for place, *_ in met} == set(range(60))
    assert len({(flip, row, column) for _, flip, row, column in met}) > 10


def test_the_channels_of_an_image_are_changed_alike_and_its_edges_are_blank() -> None:
    grey, indices = images(40), torch.arange(40)
    colours = augment(grey.repeat(1, 3, 1, 1), SampleRandom(1, 2, indices), blank=255)
    assert torch.equal(colours[:, 0], colours[:, 2])
    assert torch.equal(augment(grey, SampleRandom(1, 2, indices), blank=255), colours[:, :1])
    black = augment(grey, SampleRandom(1, 2, indices))
    rims = torch.nn.functional.pad(torch.ones(1, 26, 26), (1,) * 4) == 0
    assert torch.equal(black[:, ~rims], colours[:, :1][:, ~rims])
    assert (colours[:, :1] >= black).all()
    assert ((colours[:, :1] == 255) & (black == 0)).any()


def test_without_a_blank_the_edges_of_an_image_repeat() -> None:
    before = images(60).repeat(1, 3, 1, 1)
    after = augment(before, SampleRandom(1, 2, torch.arange(60)), blank=None)
    blank = augment(before, SampleRandom(1, 2, torch.arange(60)))
    assert torch.equal(after[..., 1:-1, 1:-1], blank[..., 1:-1, 1:-1])
    even = torch.full((40, 3, 28, 28), 7, dtype=torch.uint8)
    assert torch.equal(augment(even, SampleRandom(1, 2, torch.arange(40)), blank=None), even)
    ramp = torch.arange(28, dtype=torch.uint8).expand(40, 1, 28, 28)
    shifted = augment(ramp, SampleRandom(1, 2, torch.arange(40)), blank=None)
    assert (shifted.int().diff(dim=3).abs() <= 1).all(), "no pixel comes in that is not like its neighbour"
