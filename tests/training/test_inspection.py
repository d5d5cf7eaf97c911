"""What is told about a data set and about a model's confidence."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from samebench.tasks.image_classification import figures, inspection
from samebench.tasks.image_classification.image_data import Split
from samebench.training import trial
from samebench.training.figures import STYLE
from tiny import data
from tiny.settings import Settings


@pytest.fixture(scope="module")
def split() -> Split:
    return data.synthetic(0).training


def test_sample_is_all_or_as_many_as_have_so_many_bytes(split: Split) -> None:
    assert inspection.sample(split) is split
    drawn, same = (inspection.sample(split, max_bytes=100 * 784 + 1) for _ in range(2))
    assert torch.equal(drawn.images, same.images)
    assert len(drawn) == 100
    assert len({*drawn.labels.tolist()}) == 10
    assert len(inspection.sample(split, max_bytes=1)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of memory")
def test_memory_is_that_of_a_block() -> None:
    images = torch.zeros(400, 3, 256, 256, dtype=torch.uint8)
    images[:, 0] = (torch.arange(400) % 256).to(torch.uint8)[:, None, None]
    split, clear = Split(images, torch.arange(400) % 2), Path("/proc/self/clear_refs")
    inspection.votes(split.select(torch.arange(20)))  # torch's own memory
    clear.write_text("5")  # the peak begins anew
    before = peak()
    inspection.votes(split)
    inspection.near_duplicates(images, within=0)
    assert peak() < before + (100 << 20), "40 blocks of 8 MB, of which small results keep the memory, are 320 MB"


def peak() -> int:
    """The most memory that this process had, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) << 10


def brute(images: Tensor, within: float) -> set[tuple[int, int]]:
    """Every pair by comparing every image with every other."""
    apart = torch.cdist(images.double().flatten(1), images.double().flatten(1)) / 28
    return {(int(a), int(b)) for a, b in (apart <= within).nonzero() if a < b}


@pytest.mark.parametrize("within", [0, 5, 20, 34, 45])
def test_near_duplicates_are_what_comparing_all_with_all_finds(split: Split, within: float) -> None:
    images = split.images[:400].clone()
    images[7] = images[300]
    images[9] = images[302].clamp_max(250) + 5  # evenly brighter: what the coarse image can't average away
    images[302] = images[302].clamp_max(250)
    images[8] = (images[301].int() + torch.randint(-9, 10, (1, 28, 28), generator=torch.manual_seed(0))).clamp(0, 255)
    pairs, distances = inspection.near_duplicates(images, within=within)
    assert {(int(a), int(b)) for a, b in pairs} == brute(images, within)
    assert distances.tolist() == sorted(distances.tolist())
    assert [7, 300] in pairs.tolist()


def test_near_duplicates_of_a_side_that_blocks_do_not_fill_are_found() -> None:
    images = torch.zeros(2, 1, 11, 11, dtype=torch.uint8)
    images[1, :, :8, :8] = 100
    apart = 100 * (64 / 121) ** 0.5
    assert len(inspection.near_duplicates(images, within=apart + 0.01)[0]) == 1
    assert len(inspection.near_duplicates(images, within=apart - 0.01)[0]) == 0


def test_images_that_all_differ_have_no_near_duplicates(split: Split) -> None:
    pairs, distances = inspection.near_duplicates(split.images[:50], within=1)
    assert (tuple(pairs.shape), tuple(distances.shape)) == ((0, 2), (0,))


def test_wrong_labels_are_suspects_and_right_ones_are_not(split: Split) -> None:
    labels = split.labels.clone()
    planted = torch.tensor([5, 100, 700])
    labels[planted] = (labels[planted] + 1) % 10
    wrong = Split(split.images, labels)
    places, voted = inspection.suspects(wrong, inspection.votes(wrong))
    assert set(planted.tolist()) <= set(places.tolist())
    assert len(places) <= 6
    assert torch.equal(voted[torch.isin(places, planted)], split.labels[places[torch.isin(places, planted)]])


def test_image_does_not_vote_for_itself() -> None:
    images = torch.stack([torch.full((1, 28, 28), value) for value in (0, 100, 200)]).to(torch.uint8)
    votes = inspection.votes(Split(images, torch.tensor([0, 1, 2])), neighbours=2)
    assert votes.sort(1).values.tolist() == [[1, 2], [0, 2], [0, 1]]


def test_calibration_is_measured_in_the_bin_of_each_confidence() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65], [1.0, 0.0]])
    measured = inspection.calibration(probabilities, torch.tensor([0, 1, 1, 0]))
    assert measured.counts.tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0, 3]
    assert measured.accuracy[9].item() == pytest.approx(2 / 3)
    assert measured.confidence[9].item() == pytest.approx(2.9 / 3)
    assert measured.error == pytest.approx((1 * 0.35 + 3 * 0.3) / 4)
    assert measured.overconfidence == pytest.approx((-1 * 0.35 + 3 * 0.3) / 4)


def test_worst_mistake_is_the_most_confident_one() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    assert inspection.worst(probabilities, torch.tensor([1, 1, 1, 0])).tolist() == [0, 3, 1]


def test_trial_learns_from_part_of_the_data_and_never_sees_the_test_images() -> None:
    known = data.synthetic(0)
    part = known.subset(600)
    assert len(part.training) + len(part.validation) == 600
    assert torch.equal(part.test().images, known.validation.images)
    done = trial.train(Settings(data="synthetic", network="linear", epochs=2, batch_size=100, lr=0.01), part)
    assert len(done.history) == 2
    predicted = done.model.predict({"images": known.validation.images})["probabilities"].argmax(1)
    assert float((predicted == known.validation.labels).double().mean()) > 0.9


def test_colours_are_told_apart_with_every_kind_of_colour_vision() -> None:
    okabe_ito = {"#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"}
    assert {colour["color"] for colour in STYLE["axes.prop_cycle"]} == okabe_ito


def test_gallery_without_images_says_so() -> None:
    figure = figures.gallery(torch.zeros(0, 28, 28), [], title="Near-duplicates")
    assert figure.get_suptitle() == "Near-duplicates: none"
