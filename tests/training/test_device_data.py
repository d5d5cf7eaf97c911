"""Training examples that are fetched a batch ahead."""

import pytest
import torch

from samebench.training import device_data, loop, trial
from samebench.training.device_data import ResidentData, StreamedData, on_device
from samebench.training.task import Subset
from tiny.data import synthetic
from tiny.settings import Settings

CPU = torch.device("cpu")


def test_weights_are_the_same_whether_examples_are_fetched_ahead_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, data = Settings(data="synthetic", network="linear", epochs=2, shards=1), synthetic(0)
    expected = trial.train(settings, data).model.digest()
    streamed = StreamedData(data.training, CPU)
    ahead = []

    def get_batch(indices: torch.Tensor) -> object:
        ahead.append(streamed._next is not None and torch.equal(streamed._next[0], indices))
        return StreamedData.get_batch(streamed, indices)

    monkeypatch.setattr(streamed, "get_batch", get_batch)
    monkeypatch.setattr(loop, "on_device", lambda *_: streamed)
    assert trial.train(settings, data).model.digest() == expected
    steps = len(data.training) // settings.batch_size
    assert ahead.count(True) == 2 * (steps - 1), "all but the first batch of each epoch"


def test_other_examples_than_those_fetched_ahead_are_right() -> None:
    data = synthetic(0).training
    streamed = StreamedData(data, CPU)
    streamed.prefetch(torch.tensor([1, 2]))
    for indices in (torch.tensor([3, 4]), torch.tensor([1, 2])):
        assert torch.equal(streamed.get_batch(indices)["images"], data.images[indices])


def test_an_error_of_the_thread_is_raised() -> None:
    streamed = StreamedData(synthetic(0).training, CPU)
    streamed.prefetch(torch.tensor([10**6]))
    with pytest.raises(IndexError):
        streamed.get_batch(torch.tensor([10**6]))


@pytest.mark.parametrize(("free", "kind"), [(10**6, StreamedData), (10**9, ResidentData)])
def test_set_is_on_a_gpu_where_it_fits(free: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (free, 2 * free))
    monkeypatch.setattr(device_data.ResidentData, "__init__", lambda *_: None)
    assert isinstance(on_device(synthetic(0).training, torch.device("cuda")), kind)
    assert isinstance(on_device(synthetic(0).training, CPU), ResidentData)


def test_part_of_a_set_is_streamed_where_the_whole_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**6, 2 * 10**6))
    monkeypatch.setattr(device_data.ResidentData, "__init__", lambda *_: None)
    part = Subset(synthetic(0).training, torch.arange(50))  # its `to` copies the whole set
    assert isinstance(on_device(part, torch.device("cuda")), StreamedData)
