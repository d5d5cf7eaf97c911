"""The curves and pictures: TensorBoard reads them, and a disk that is full is told to whoever writes."""

import dataclasses
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from samebench.training import curves, train
from samebench.training.curves import Curves
from tests.commands import environment
from tests.samebench.disks import small_disk
from tiny.settings import Settings

QUICK = Settings(data="synthetic", epochs=2, batch_size=100, shards=2, network="linear", lr=0.01)


def picture(side: int) -> bytes:
    content = io.BytesIO()
    Image.effect_noise((side, side), 90).save(content, format="PNG")
    return content.getvalue()


def test_tensorboard_reads_each_point_while_the_run_goes_on(tmp_path: Path) -> None:
    with Curves(tmp_path) as curves:
        for epoch in (1, 2):
            curves.add({"loss": 1.0 / epoch, "accuracy": 0.5 * epoch}, step=epoch)
        seen = EventAccumulator(str(tmp_path)).Reload()
        assert [(point.step, point.value) for point in seen.Scalars("loss")] == [(1, 1.0), (2, 0.5)]
        assert [point.value for point in seen.Scalars("accuracy")] == [0.5, 1.0]


def test_tensorboard_reads_each_picture_while_the_run_goes_on(tmp_path: Path) -> None:
    with Curves(tmp_path) as curves:
        curves.add({"loss": 1.0}, step=1, pictures={"confusion": (shown := picture(30))})
        (seen,) = EventAccumulator(str(tmp_path)).Reload().Images("confusion")
        assert (seen.step, seen.width, seen.height) == (1, 30, 30)
        assert seen.encoded_image_string == shown


def test_a_run_shows_figures_and_pictures_of_each_epoch(tmp_path: Path) -> None:
    run = train.train(QUICK, runs=tmp_path)
    told = list(curves.read(run.directory))
    assert [step for step, _, _ in told] == [1, 2]
    for figures, (_, points, shown) in zip(run.receipt["history"], told, strict=True):
        assert points == pytest.approx(figures)
        assert set(shown) == {"confusion_matrix", "worst_mistakes"}
        assert all(Image.open(io.BytesIO(content)).format == "PNG" for content in shown.values())


def test_pictures_of_a_long_run_stay_small(tmp_path: Path) -> None:
    run = train.train(dataclasses.replace(QUICK, epochs=90), runs=tmp_path)
    told = list(curves.read(run.directory))
    assert len(told) == 90
    assert sum(bool(shown) for _, _, shown in told) <= 41
    assert sum(path.stat().st_size for path in run.directory.glob("events.*")) < 4_000_000


def test_training_loads_no_matplotlib_for_its_pictures(tmp_path: Path) -> None:
    program = "import sys; from samebench.training import train; assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_full_disk_names_the_file() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system to stand for a full disk")
    curves = Curves(Path("/dev"))
    curves.path = Path("/dev/full")
    with pytest.raises(OSError, match=r"No space left on device, [0-9]+ bytes needed: '/dev/full'"):
        curves.__enter__()


def test_a_disk_too_full_for_a_picture_names_the_file_and_keeps_what_was_there(tmp_path: Path) -> None:
    with small_disk(tmp_path, size=1 << 20) as disk:
        with Curves(disk.place) as written:
            written.add({"loss": 1.0}, step=1, pictures={"noise": picture(64)})
            disk.fill(but=8192)
            with pytest.raises(OSError, match=rf"No space left on device, [\d,]+ bytes needed: '{written.path}'"):
                written.add({"loss": 0.5}, step=2, pictures={"noise": picture(256)})
        assert [(step, set(shown)) for step, _, shown in curves.read(disk.place)] == [(1, {"noise"})]


def test_a_file_that_is_cut_off_is_read_to_where_it_is_whole(tmp_path: Path) -> None:
    with Curves(tmp_path) as written:
        for step in (1, 2, 3):
            written.add({"loss": 1.0 / step}, step=step, pictures={"noise": picture(20)})
    content = written.path.read_bytes()
    for length in range(len(content) - 1, len(content) // 2, -37):
        written.path.write_bytes(content[:length])
        assert [step for step, _, _ in curves.read(tmp_path)] in ([1], [1, 2])
