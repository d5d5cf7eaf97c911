"""A run that was interrupted, killed or lost its GPU ends as if nothing had happened; one in progress is left alone."""

import dataclasses
import errno
import fcntl
from pathlib import Path

import pytest
import torch

from samebench.core.command import RequirementError, UsageError
from samebench.runs.metrics import FIRST_EDITION_COLUMNS
from samebench.runs.run import OUTCOME, Run, sweep
from samebench.training import loop, train
from samebench.training.loop import Training
from tests.samebench.test_accelerator import out_of_memory

from .interrupts import QUICK, interrupt, tiny, undisturbed

__all__ = ["tiny", "undisturbed"]  # fixtures


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    at: int, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train.train(QUICK, run=interrupt(tmp_path, monkeypatch, at=at))
    for fact in ("weights_sha256", "metrics"):
        assert run.receipt[fact] == undisturbed.receipt[fact]
    assert [dict(each, seconds=0) for each in run.receipt["history"]] == [
        dict(each, seconds=0) for each in undisturbed.receipt["history"]
    ]
    assert [each["step"] for each in run.receipt["resumed"]] == [at]


@pytest.mark.parametrize(
    ("at", "kept", "error"),
    [
        (
            5,
            "checkpoints/step-00000003.safetensors",
            torch.AcceleratorError("CUDA error: launch failure\nmore"),
        ),
        (5, "checkpoints/step-00000003.safetensors", RuntimeError("CUDA error: uncorrectable ECC error encountered")),
        (2, "no checkpoint yet", RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")),
    ],
)
def test_a_run_that_loses_the_gpu_names_its_checkpoint_and_resumes(
    at: int, kept: str, error: RuntimeError, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SAMEBENCH_RUNTIME", raising=False)  # the printed command would name it
    learn = Training.step

    def step(self: Training, batch: torch.Tensor) -> torch.Tensor:
        if self.steps_done == at - 1:
            raise error
        return learn(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(RequirementError) as lacking:
            train.train(QUICK, runs=tmp_path)
    run = Run.newest(tmp_path)
    reason = str(error).partition("\n")[0]
    kept = kept if kept.startswith("no ") else f"{run.directory}/{kept}"
    resume = f"resume with: make train RESUME={run.directory}"
    assert str(lacking.value) == f"{run.directory}: the GPU is lost ({reason}); {kept}; {resume}"
    assert run.receipt["state"] == "interrupted"
    assert train.train(QUICK, run=run).receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]


def test_a_gpu_without_room_for_the_network_is_told_and_the_run_resumes(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shards(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "ShardedGradients", shards)
        with pytest.raises(
            RequirementError,
            match=r"its memory is full, .* \(CUDA out of memory. Tried to allocate 2.00 GiB\); no",
        ):
            train.train(QUICK, runs=tmp_path)
    run = Run.newest(tmp_path)
    assert run.receipt["state"] == "interrupted"
    assert train.train(QUICK, run=run).receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]


def test_a_batch_too_large_for_the_gpu_is_no_interruption_and_the_remedy_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise out_of_memory(tried="2.00 GiB", capacity="79.11 GiB", free="1.03 GiB", own="78.07 GiB")

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(RequirementError) as lacking:
        train.train(QUICK, runs=tmp_path)
    run = Run.newest(tmp_path)
    size = QUICK.batch_size
    assert str(lacking.value).startswith(
        f"{run.directory}: the GPU has 79.11 GiB, this process has 78.07 GiB of it and asks for 2.00 GiB more; "
        f'batch_size={size} is too large for it; start a new run with ARGS="--batch-size {size // 2}", or resume'
    )
    assert run.receipt["state"] == "failed"


def test_a_broken_pipe_that_is_not_standard_output_is_a_mistake_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(*_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(BrokenPipeError):
        train.train(QUICK, runs=tmp_path)
    assert Run.newest(tmp_path).receipt["state"] == "failed"


def test_a_run_on_the_gpu_resumes_on_it(tmp_path: Path) -> None:
    assert Run(tmp_path, {"device": "cuda"}).resume_command() == f"make train GPU=1 RESUME={tmp_path}"


def test_a_model_that_was_lost_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    before = run.weights.read_bytes()
    run.weights.write_bytes(b"damaged")
    settings = dataclasses.replace(QUICK, epochs=1)
    assert train.train(settings, run=run).weights.read_bytes() == before


def test_a_run_killed_before_its_first_checkpoint_begins_at_the_first_step(
    undisturbed: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {name: undisturbed.receipt[name] for name in ("settings", "data_version", "device")}
    run = Run.start(tmp_path, **facts)
    run.release()
    assert train.train(QUICK, run=run).receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]
    assert "resumes after step 0" in capsys.readouterr().out


def test_a_done_run_that_is_extended_and_interrupted_keeps_nothing_of_its_former_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = train.train(QUICK, runs=tmp_path)
    longer = dataclasses.replace(QUICK, epochs=3)
    interrupted = interrupt(tmp_path, monkeypatch, at=8, settings=longer, run=Run.open(done.directory))
    assert interrupted.receipt["state"] == "interrupted"
    assert interrupted.receipt["history"] == done.receipt["history"]
    assert OUTCOME & interrupted.receipt.keys() == set()
    assert train.train(longer, run=interrupted).receipt.keys() >= OUTCOME - {*FIRST_EDITION_COLUMNS}


def test_a_run_in_progress_is_kept_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    run.acquire()
    with pytest.raises(UsageError, match="in progress in another process; wait for it, or stop it first"):
        Run.open(run.directory).acquire(patience=0)
    sweep(tmp_path)
    run.release()
    assert train.train(QUICK, run=run).receipt["state"] == "done"


def test_what_a_killed_training_left_is_cleared_by_the_next_start(tmp_path: Path) -> None:
    killed, at_work = Run.start(tmp_path), Run.start(tmp_path)
    killed.release()
    for run in (killed, at_work):
        run.checkpoints.mkdir()
        (run.checkpoints / ".step-00000001.safetensors.0123abcd").write_bytes(b"half")
    Run.start(tmp_path).release()
    assert list(killed.checkpoints.iterdir()) == []
    assert Run.open(killed.directory).receipt["state"] == "interrupted"
    assert len(list(at_work.checkpoints.iterdir())) == 1
    assert Run.open(at_work.directory).receipt["state"] == "running"
    at_work.release()


def no_locks(_handle: int, _how: int) -> None:
    """A file system that has none."""
    raise OSError(errno.ENOLCK, "No locks available")


def test_where_nobody_can_be_kept_out_nothing_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    at_work = Run.start(tmp_path)
    half_written = at_work.directory / ".model.safetensors.0123abcd"
    half_written.write_bytes(b"half")
    sweep(tmp_path)
    assert half_written.exists()
    assert Run.open(at_work.directory).receipt["state"] == "running"
