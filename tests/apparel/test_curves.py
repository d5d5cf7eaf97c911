"""The curves: TensorBoard reads them, and a disk that is full is told to whoever writes."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apparel.curves import Curves


def test_tensorboard_reads_each_point_while_the_run_goes_on(tmp_path: Path) -> None:
    with Curves(tmp_path) as curves:
        for epoch in (1, 2):
            curves.add({"loss": 1.0 / epoch, "accuracy": 0.5 * epoch}, step=epoch)
        seen = EventAccumulator(str(tmp_path)).Reload()
        assert [(point.step, point.value) for point in seen.Scalars("loss")] == [(1, 1.0), (2, 0.5)]
        assert [point.value for point in seen.Scalars("accuracy")] == [0.5, 1.0]


def test_full_disk_names_the_file() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system to stand for a full disk")
    curves = Curves(Path("/dev"))
    curves.path = Path("/dev/full")
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        curves.__enter__()
