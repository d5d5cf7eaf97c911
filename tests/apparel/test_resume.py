import dataclasses
import errno
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from apparel import checkpoint, curves, data, pictures, train
from apparel.run import OUTCOME, Run, sweep
from apparel.settings import Settings
from apparel.training import Training
from samebench import receipt
from samebench.command import Interrupted, Lacking, Refusal
from tests.commands import call, start

QUICK = Settings(data="tiny", epochs=2, batch_size=32, shards=2, network="conv")
KNOWN = data.synthetic(0, training=144, test=40)
COMMAND = ["-m", "apparel.train", "--data", "synthetic", "--network", "linear"]


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "load", lambda _: KNOWN)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda _: KNOWN)
        yield train.train(QUICK, runs=tmp_path_factory.mktemp("undisturbed"))


def interrupt(
    runs: Path, monkeypatch: pytest.MonkeyPatch, *, at: int, settings: Settings = QUICK, run: Run | None = None
) -> Run:
    """A run, new or resumed, that SIGTERM has stopped after step `at`."""
    learn = Training.step

    def step(training: Training, batch: object) -> float:
        if training.steps_done == at - 1:
            signal.raise_signal(signal.SIGTERM)
        return learn(training, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Interrupted):
            train.train(settings, runs=runs, run=run)
    return Run.newest(runs)


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_an_interrupted_run_ends_as_if_nothing_had_happened(
    at: int, undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train.train(QUICK, run=interrupt(tmp_path, monkeypatch, at=at))
    for fact in ("weights_sha256", "test_accuracy", "validation_loss"):
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
    learn = Training.step

    def step(training: Training, batch: torch.Tensor) -> float:
        if training.steps_done == at - 1:
            raise error
        return learn(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        with pytest.raises(Lacking) as lacking:
            train.train(QUICK, runs=tmp_path)
    run = Run.newest(tmp_path)
    reason = str(error).partition("\n")[0]
    kept = kept if kept.startswith("no ") else f"{run.directory}/{kept}"
    resume = f"resume with: make train RESUME={run.directory}"
    assert str(lacking.value) == f"{run.directory}: the GPU is lost ({reason}); {kept}; {resume}"
    assert run.receipt["state"] == "interrupted"
    assert train.train(QUICK, run=run).receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]


def test_a_run_on_the_gpu_resumes_on_it(tmp_path: Path) -> None:
    assert train.resuming(Run(tmp_path, {"device": "cuda"})) == f"make train GPU=1 RESUME={tmp_path}"


def test_a_run_on_the_gpu_does_not_resume_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    facts = {name: run.receipt[name] for name in ("settings", "data_version")}
    kept = dataclasses.replace(checkpoint.newest(run) or pytest.fail("none"), device="cuda")
    with pytest.raises(Refusal, match="device: cuda then, cpu now; leave it as it was, or start a new run"):
        train.agree(run, kept, {**facts, "device": "cpu"})


def test_its_curves_have_each_epoch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train.train(QUICK, run=interrupt(tmp_path, monkeypatch, at=5))
    board = EventAccumulator(str(run.directory)).Reload()
    assert [event.step for event in board.Scalars("validation_loss")] == [1, 2]
    for name in ("confusion_matrix", "worst_mistakes"):
        assert [event.step for event in board.Images(name)] == [1, 2]


def test_pictures_of_epochs_that_come_again_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    for path in run.checkpoints.glob("step-*"):
        path.unlink()
    before = {step: pictures for step, _, pictures in curves.read(run.directory)}
    assert list(before) == [1]
    train.train(QUICK, run=run)
    after = [(step, pictures) for step, _, pictures in curves.read(run.directory)]
    assert [step for step, _ in after] == [1, 2]
    assert after[0][1] == before[1], "the same network draws the same pictures"


def test_pictures_of_epochs_that_are_done_are_those_of_the_earlier_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    monkeypatch.setattr(pictures, "draw", lambda *_: {"confusion_matrix": bytes(24)})
    ((_, _, before),) = curves.read(run.directory)
    train.train(QUICK, run=run)
    first, second = (shown for _, _, shown in curves.read(run.directory))
    assert first == before
    assert second == {"confusion_matrix": bytes(24)}


def test_resuming_over_a_damaged_file_of_curves_loses_only_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=5)
    (path,) = run.directory.glob("events.*")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 100])
    train.train(QUICK, run=run)
    told = [(step, set(figures), set(shown)) for step, figures, shown in curves.read(run.directory)]
    assert [(step, bool(shown)) for step, _, shown in told] == [(1, False), (2, True)]
    assert all("validation_loss" in figures for _, figures, _ in told)


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.1}, "settings.lr: 0.25 then, 0.1 now; leave it as it was, or start a new run"),
        ({"seed": 1}, "settings.seed: 0 then, 1 now"),
        ({"shards": 4}, "settings.shards: 2 then, 4 now"),
        ({"fast": True}, "settings.fast: False then, True now"),
        ({"epochs": 1}, None),
    ],
)
def test_settings_that_contradict_the_checkpoint_are_refused_by_name(
    change: dict[str, float], said: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    before = (run.directory / "receipt.json").read_bytes()
    settings = dataclasses.replace(QUICK, **change)  # type: ignore[arg-type]
    if said is None:
        assert train.train(settings, run=run).receipt["settings"]["epochs"] == 1
        return
    with pytest.raises(Refusal, match=said):
        train.train(settings, run=run)
    assert (run.directory / "receipt.json").read_bytes() == before


def test_all_settings_that_contradict_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    said = "settings.lr: 0.25 then, 0.1 now; settings.seed: 0 then, 1 now; leave them as they were, or start a new run"
    with pytest.raises(Refusal, match=said):
        train.train(dataclasses.replace(QUICK, lr=0.1, seed=1), run=run)


def test_other_data_is_refused_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    monkeypatch.setattr(data, "load", lambda _: data.synthetic(1, training=144, test=40))
    with pytest.raises(Refusal, match=rf"data_version: {KNOWN.version[:12]} then, \w{{12}} now"):
        train.train(QUICK, run=run)


def test_the_same_data_from_another_place_is_taken(
    undisturbed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    again = train.train(dataclasses.replace(QUICK, data="moved"), run=run)
    assert again.receipt["weights_sha256"] == undisturbed.receipt["weights_sha256"]


def test_a_run_that_is_done_goes_on_only_with_more_epochs(tmp_path: Path) -> None:
    run = train.train(QUICK, runs=tmp_path)
    with pytest.raises(Refusal, match="done, all 2 epochs; give more with --epochs, or start a new run"):
        train.train(QUICK, run=run)
    with pytest.raises(Refusal, match="epochs=1 is impossible, 2 are done; give 2 or more"):
        train.train(dataclasses.replace(QUICK, epochs=1), run=run)
    longer = train.train(dataclasses.replace(QUICK, epochs=3), run=run)
    assert len(longer.receipt["history"]) == longer.receipt["settings"]["epochs"] == 3
    assert longer.receipt["resumed"][0]["changed"] == ["settings.epochs: 2 then, 3 now"]


def test_what_was_not_committed_when_it_went_on_is_kept_beside_what_was_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = interrupt(tmp_path, monkeypatch, at=1)
    monkeypatch.setattr(receipt, "uncommitted", lambda: b"a diff")
    run = interrupt(tmp_path, monkeypatch, at=2, run=run)
    assert not (run.directory / "uncommitted-1.diff").exists()  # no source has changed since
    run.record(code=run.receipt["code"] | {"source": {}})
    run = train.train(QUICK, run=run)
    assert (run.directory / "uncommitted-2.diff").read_bytes() == b"a diff"
    assert run.receipt["resumed"][1]["commit"] == receipt.code()["commit"]


def test_a_checkpoint_of_other_code_is_refused_and_the_receipt_left_as_it_was(tmp_path: Path) -> None:
    run = train.train(QUICK, runs=tmp_path)
    kept = checkpoint.newest(run)
    assert kept
    checkpoint.save(run, dataclasses.replace(kept, tensors={}, step=kept.step + 1))
    before = (run.directory / "receipt.json").read_bytes()
    with pytest.raises(Refusal, match="a checkpoint of other code"):
        train.train(dataclasses.replace(QUICK, epochs=3), run=run)
    assert (run.directory / "receipt.json").read_bytes() == before
    run.hold(patience=0)
    run.release()


def test_a_done_run_that_is_extended_and_interrupted_keeps_nothing_of_its_former_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = train.train(QUICK, runs=tmp_path)
    longer = dataclasses.replace(QUICK, epochs=3)
    interrupted = interrupt(tmp_path, monkeypatch, at=8, settings=longer, run=Run.open(done.directory))
    assert interrupted.receipt["state"] == "interrupted"
    assert interrupted.receipt["history"] == done.receipt["history"]
    assert OUTCOME & interrupted.receipt.keys() == set()
    assert train.train(longer, run=interrupted).receipt.keys() >= OUTCOME


def test_a_run_in_progress_is_kept_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = interrupt(tmp_path, monkeypatch, at=4)
    run.hold()
    with pytest.raises(Refusal, match="in progress in another process; wait for it, or stop it first"):
        Run.open(run.directory).hold(patience=0)
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


def test_the_command_that_was_printed_resumes(tmp_path: Path) -> None:
    process = start(*COMMAND, "--epochs", "1000", at=tmp_path)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    (run,) = tmp_path.glob("runs/*")
    assert err.endswith(f"; resume with: make train RESUME=runs/{run.name}\n")
    done_epochs = len(json.loads((run / "receipt.json").read_text())["history"])
    for words in (["--resume", f"runs/{run.name}"], ["--resume", "latest"]):
        done_epochs += 1
        resumed = call("-m", "apparel.train", *words, "--epochs", str(done_epochs), at=tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert f"runs/{run.name}: resumes after step" in resumed.stdout
    receipt = json.loads((run / "receipt.json").read_text())
    assert receipt["state"] == "done"
    assert receipt["settings"]["network"] == "linear"
    assert len(receipt["resumed"]) == 2


def test_a_run_whose_lines_nobody_reads_any_more_can_be_resumed(tmp_path: Path) -> None:
    words = ("--data", "synthetic", "--network", "linear", "--epochs", "3")
    with start("-m", "apparel.train", *words, at=tmp_path) as process:
        assert process.stdout
        process.stdout.close()
        assert process.wait(timeout=100) == 1
    (directory,) = (tmp_path / "runs").iterdir()
    assert Run.open(directory).receipt["state"] == "interrupted"
    done = call("-m", "apparel.train", "--resume", "latest", at=tmp_path)
    assert done.returncode == 0
    assert Run.open(directory).receipt["state"] == "done"


def test_nothing_to_resume_is_refused_in_one_line(tmp_path: Path) -> None:
    done = call("-m", "apparel.train", "--resume", "latest", at=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "error: runs: no run; train first, or name a run\n"


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    process = start(*COMMAND, "--epochs", "1000", at=tmp_path)
    while not list(tmp_path.glob("runs/*/checkpoints/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # so that both are there before it can end by the first
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode in {4, -signal.SIGINT}


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace here")
def test_every_save_writes_syncs_renames_and_syncs_the_directory_in_this_order(tmp_path: Path) -> None:
    log = tmp_path / "log"
    calls = "openat,write,fsync,rename,renameat,renameat2"
    trace = ["strace", "-f", "-y", "-qq", "-s", "0", "-e", f"trace={calls}", "-o", str(log)]
    words = [sys.executable, *COMMAND, "--epochs", "3", "--checkpoint-seconds", "0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(train.__file__).parents[1])}
    done = subprocess.run([*trace, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    if "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    assert done.returncode == 0, done.stderr
    saves = [each for each in order(log.read_text()) if each]
    assert len(saves) >= 15
    assert set(saves) == {"open write fsync rename sync"}


def order(log: str) -> list[str]:
    """What happened to each temporary file and then to its directory, one word a kind of call."""
    saves: dict[str, list[str]] = {}
    ends: list[str] = []
    for line in log.splitlines():
        name = next(iter(re.findall(r"\.step-[\w.]+", line)), "")
        kind = line.split(maxsplit=1)[1].split("(")[0] if name or "fsync" in line else ""
        if name and "O_CREAT" in line:
            saves[name] = ["open"]
        elif name and kind in {"write", "fsync"} and saves[name][-1] != kind:
            saves[name].append(kind)
        elif name and kind.startswith("rename"):
            saves[name].append("rename")
            ends.append(name)
        elif kind == "fsync" and "/checkpoints>" in line and ends:
            saves[ends.pop()].append("sync")
    return [" ".join(words) for words in saves.values()]
