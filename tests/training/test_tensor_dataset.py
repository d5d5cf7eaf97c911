"""Examples and results on the disk."""

import errno
import io
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from samebench.training import tensor_dataset
from samebench.training.tensor_dataset import TensorSpool, allocate, batched, map_batches


def test_spool_is_what_was_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_dataset, "ROOT", tmp_path)
    spool = TensorSpool()
    rows = np.arange(60, dtype=np.float32).reshape(10, 3, 2)
    for some in (rows[:7], rows[7:], rows[:0]):
        spool.append({"rows": some, "none": np.empty((len(some), 0), np.int64), "one": some[:, 0, 0].astype(np.int64)})
    dataset = spool.to_dataset()
    assert len(spool) == len(dataset) == 10
    del spool
    assert torch.equal(dataset["rows"], torch.from_numpy(rows))
    assert dataset["none"].shape == (10, 0)
    assert dataset.get_batch(torch.tensor([9, 2]))["one"].tolist() == [54, 12]
    dataset["rows"][0] = 7.0  # changes the process's own copy
    assert [*tmp_path.rglob("*")] == [tmp_path / ".samebench"], "nothing is left to remove, even after a kill"


@pytest.mark.parametrize("size", [1, 1 << 30], ids=["on the disk", "in memory"])
def test_results_of_batches_are_joined(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_dataset, "LARGE", size)
    values = torch.randn(25, 4)
    results = map_batches(
        torch.split(torch.arange(25), 10), lambda places: {"a": values[places], "b": places[:, None] > 3}
    )
    assert torch.equal(results["a"], values)
    assert results["b"].sum() == 21


def test_a_full_disk_is_named_with_the_bytes_that_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_dataset, "ROOT", tmp_path)
    monkeypatch.setattr(tensor_dataset, "LARGE", 1)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    problem = rf"No space left on device, 4,000 bytes needed: '{tmp_path}/\.samebench'"
    with pytest.raises(OSError, match=problem):
        allocate(torch.zeros(1, 10), 100)
    monkeypatch.setattr(tensor_dataset, "_scratch_file", partial(io.FileIO, "/dev/full", "r+"))
    with pytest.raises(OSError, match=problem):
        TensorSpool().append({"rows": np.zeros(500)})


def test_large_results_are_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensor_dataset, "LARGE", 1 << 20)
    before = anonymous()
    result = allocate(torch.zeros(1, 1 << 10), 1 << 16)
    result.fill_(1.0)
    assert result.shape == (1 << 16, 1 << 10)
    assert anonymous() < before + (100 << 20), "256 MB of results"


def anonymous() -> int:
    """The anonymous memory of this process in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) << 10


def test_batched_gives_lists_of_a_size() -> None:
    assert [*batched(range(7), 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [*batched([], 3)] == []
