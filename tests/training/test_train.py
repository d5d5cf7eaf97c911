import copy
import dataclasses
import json
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from samebench.core.command import Interrupted, RequirementError, UsageError
from samebench.environment import determinism
from samebench.runs.run import Run
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.training import loop, train
from samebench.training.loop import Training
from samebench.training.process_group import ProcessGroup
from samebench.training.shards import Loss, ShardedGradients, worker_layout, workers
from samebench.training.task import Predictions
from tests.commands import call, start
from tiny import data
from tiny.settings import Network, Settings
from tiny.task import TASK

from .models import make_network, probabilities

QUICK = Settings(data="tiny", epochs=2, batch_size=32, shards=4, network="conv")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> Data:
    """A synthetic set of 124 + 20 images in place of whatever the settings name."""
    known = data.synthetic(0, training=144, test=40)
    monkeypatch.setattr(data, "load", lambda _: known)
    return known


def weights(settings: Settings, runs: Path, *, threads: int | None = None) -> str:
    return str(train.train(settings, runs=runs, threads=threads).receipt["weights_sha256"])


@pytest.mark.parametrize("network", ["linear", "conv", "residual"])
def test_one_two_and_eight_workers_give_the_same_weights(network: Network, tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, network=network, shards=8, epochs=1)
    assert len({weights(settings, tmp_path, threads=count) for count in (1, 2, 8)}) == 1


@pytest.mark.parametrize(
    ("cores", "fast", "workers_and_cores_of_each"),
    [(8, False, (4, 1)), (8, True, (4, 2)), (2, True, (2, 1)), (7, True, (4, 1))],
)
def test_fast_gives_each_worker_its_share_of_all_cores(
    cores: int, fast: bool, workers_and_cores_of_each: tuple[int, int]
) -> None:
    assert worker_layout(QUICK.shards, fast=fast, cores=cores) == workers_and_cores_of_each


def test_a_worker_computes_with_the_cores_it_was_given() -> None:
    for each in (1, 3):
        with workers(2, cores=each) as pool:
            assert list(pool.map(lambda _: torch.get_num_threads(), range(2))) == [each, each]


def test_the_same_run_twice_gives_the_same_weights_and_figures(tmp_path: Path) -> None:
    runs = [train.train(QUICK, runs=tmp_path).receipt for _ in range(2)]
    for fact in ("weights_sha256", "metrics", "data_version"):
        assert runs[0][fact] == runs[1][fact]


@pytest.mark.parametrize("change", [{"seed": 1}, {"shards": 2}, {"lr": 0.1}, {"label_smoothing": 0.0}])
def test_another_setting_gives_other_weights(change: dict[str, float], tmp_path: Path) -> None:
    settings = dataclasses.replace(QUICK, epochs=1)
    changed = dataclasses.replace(settings, **change)  # type: ignore[arg-type]
    assert weights(settings, tmp_path) != weights(changed, tmp_path)


def test_what_other_code_drew_from_the_global_generator_changes_nothing(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = weights(QUICK, tmp_path)
    torch.manual_seed(2)
    assert weights(QUICK, tmp_path) == first


def test_training_leaves_the_global_generator_as_it_was(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train.train(QUICK, runs=tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def sixteen(known: Data) -> Loss:
    """The loss of a network on some of the first sixteen images, as they are."""
    images, labels = known.training.images[:16].float() / 255, known.training.labels[:16]

    def loss(network: torch.nn.Module, part: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.nn.functional.cross_entropy(network(images[part]), labels[part], reduction="sum")
        return total, torch.tensor(float(len(part)))

    return loss


@pytest.mark.parametrize("network", ["linear", "conv", "residual"])
def test_one_batch_is_learnt_to_almost_no_loss(network: Network, tiny: Data) -> None:
    net = make_network(network, seed=0)
    loss = sixteen(tiny)
    with workers(2) as pool:
        shards = ShardedGradients(net, count=2, pool=pool)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
        for _ in range(150):
            value = shards(loss, torch.arange(16))
            optimizer.step()
    assert value < 0.01


def test_the_shards_gradients_are_those_of_the_whole_batch(tiny: Data) -> None:
    net = make_network("linear", seed=0)
    loss = sixteen(tiny)
    total, count = loss(net, torch.arange(16))
    whole = torch.autograd.grad(total / count, list(net.parameters()))
    with workers(2) as pool:
        ShardedGradients(net, count=4, pool=pool)(loss, torch.arange(16))
    for parameter, gradient in zip(net.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("network", ["linear", "conv", "residual"])
def test_gradients_lie_in_memory_as_the_weights_do(network: Network, tiny: Data) -> None:
    net = make_network(network, seed=0)
    loss = sixteen(tiny)
    with workers(2) as pool:
        ShardedGradients(net, count=2, pool=pool)(loss, torch.arange(16))
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert parameter.grad.stride() == parameter.stride()


def test_the_synthetic_set_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = data.synthetic(0, training=600, test=100)
    monkeypatch.setattr(data, "load", lambda _: known)
    run = train.train(dataclasses.replace(QUICK, epochs=4, lr=0.1), runs=tmp_path)
    assert run.receipt["metrics"]["test"]["accuracy"] > 0.9


def test_the_test_images_are_asked_once_after_the_last_epoch(
    tmp_path: Path, tiny: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(_known: Data) -> Split:
        receipts = [json.loads(path.read_text()) for path in tmp_path.glob("*/receipt.json")]
        asked.append(len(receipts[0]["history"]))
        return tiny.validation

    monkeypatch.setattr(Data, "test", ask)
    train.train(QUICK, runs=tmp_path)
    assert asked == [QUICK.epochs]


@dataclasses.dataclass(frozen=True)
class Pair(ProcessGroup):
    """Two threads in the place of two processes."""

    meeting: threading.Barrier = dataclasses.field(default_factory=lambda: threading.Barrier(2, timeout=30))
    told: dict[int, torch.Tensor] = dataclasses.field(default_factory=dict)

    def gather(self, rows: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        self.told[self.rank] = rows
        self.meeting.wait()
        assert [len(self.told[rank]) for rank in range(2)] == list(counts)
        everyone = torch.cat([self.told[rank] for rank in range(2)])
        self.meeting.wait()
        return everyone


def test_two_processes_know_of_every_image_what_one_knows(
    tmp_path: Path, tiny: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samebench.training.model.BATCH", 6)
    with workers(1) as pool:
        known = Training(QUICK, TASK, tiny, run=Run(tmp_path, {}), pool=pool, device=torch.device("cpu"))
    first = Pair(size=2, local_size=2)

    def ask(rank: int) -> tuple[dict[str, float], Predictions]:
        one = copy.copy(known)
        one.group = dataclasses.replace(first, rank=rank)
        with workers(1) as one.pool:
            return one.evaluate(one.model, tiny.validation)

    with workers(1) as known.pool, ThreadPoolExecutor(2) as both:
        figures, predictions = known.evaluate(known.model, tiny.validation)
        for other in both.map(ask, range(2)):
            assert other[0] == figures
            assert torch.equal(other[1]["probabilities"], predictions["probabilities"])
    expected = probabilities(known.model, tiny.validation.images)
    torch.testing.assert_close(predictions["probabilities"], expected)


def test_a_run_tells_what_it_was_and_what_came_out(tmp_path: Path, tiny: Data) -> None:
    run = Run.newest(train.train(QUICK, runs=tmp_path).directory.parent)
    assert run.receipt["state"] == "done"
    assert run.receipt["settings"] == dataclasses.asdict(QUICK)
    assert run.receipt["data_version"] == tiny.version
    assert 0 <= run.receipt["metrics"]["test"]["accuracy"] <= 1
    assert run.receipt["metrics"]["validation"]["loss"] == min(
        each["validation_loss"] for each in run.receipt["history"]
    )


@pytest.mark.parametrize(
    ("fast", "chip_computes_in_bf16", "precision"),
    [(False, True, "float32"), (True, True, "bf16"), (True, False, "float32")],
)
def test_the_receipt_tells_the_precision(
    fast: bool, chip_computes_in_bf16: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(determinism, "has_native_bf16", lambda: chip_computes_in_bf16)
    settings = dataclasses.replace(QUICK, network="linear", epochs=1, fast=fast)
    assert train.train(settings, runs=tmp_path).receipt["precision"] == precision


@pytest.mark.parametrize(("has_bf16", "told"), [(True, "bf16"), (False, "float32")])
def test_a_fast_training_on_a_gpu_is_in_bf16_where_that_computes_in_it(
    has_bf16: bool, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16 or including_emulation
    )
    cuda = torch.device("cuda")
    assert loop.precision(cuda, fast=True) == told
    assert loop.precision(cuda, fast=False) == "float32"


def test_a_fast_training_says_so_in_its_receipt(tmp_path: Path) -> None:
    variables: dict[str, str | None] = dict(determinism.CPU_LEVEL)
    done = call(
        "-m",
        "samebench.training",
        "--data",
        "synthetic",
        "--epochs",
        "1",
        "--fast",
        at=tmp_path,
        changes=variables,
    )
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("runs/*/receipt.json")
    told = json.loads(path.read_text())
    assert told["state"] == "done"
    assert told["settings"]["fast"] is True
    assert {told["cpu_level"][name] for name in determinism.cpu_level_variables(fast=True)} <= {None}
    assert told["precision"] == ("bf16" if determinism.has_native_bf16() else "float32")


def test_a_batch_larger_than_the_data_is_refused_and_leaves_no_run(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"batch_size=1000 is impossible; .* 124 .*; take ARGS=.--batch-size 32 --lr 0.02"
    ):
        train.train(dataclasses.replace(QUICK, batch_size=1000), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_gpu_that_is_not_there_is_lacking(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(RequirementError, match=r"^--device cuda: "):
        train.train(dataclasses.replace(QUICK, device="cuda"), runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_training_on_the_cpu_never_starts_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", torch.version.cuda or "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    for name in ("init", "_lazy_init", "get_device_properties", "get_device_capability"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("CUDA was started"))
    assert train.train(dataclasses.replace(QUICK, epochs=1), runs=tmp_path).receipt["device"] == "cpu"
    assert not torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "", "torch's optimizers look for a GPU at each step"


def test_a_run_stopped_between_two_steps_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_training: Training) -> float:
        signal.raise_signal(signal.SIGTERM)
        return 0.1

    monkeypatch.setattr(Training, "lr_factor", interrupt)
    with pytest.raises(Interrupted, match="epoch 1 of 2; resume with: make train RESUME="):
        train.train(QUICK, runs=tmp_path)
    assert [json.loads(path.read_text())["state"] for path in tmp_path.glob("*/receipt.json")] == ["interrupted"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_loss_that_is_no_number_any_more_ends_the_run_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="take a lower lr than 1e"):
        train.train(dataclasses.replace(QUICK, network="linear", lr=1e38), runs=tmp_path)
    assert [json.loads(path.read_text())["state"] for path in tmp_path.glob("*/receipt.json")] == ["failed"]


def test_a_run_that_breaks_is_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "lr_factor", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train.train(QUICK, runs=tmp_path)
    assert [json.loads(path.read_text())["state"] for path in tmp_path.glob("*/receipt.json")] == ["failed"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_says_so_in_one_line_and_exits_with_4(number: signal.Signals, tmp_path: Path) -> None:
    process = start("-m", "samebench.training", "--data", "synthetic", "--epochs", "1000", at=tmp_path)
    while not (found := list(tmp_path.glob("runs/*/model.safetensors"))) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 4
    assert err.count("\n") == 1
    assert "interrupted in epoch" in err
    assert json.loads((found[0].parent / "receipt.json").read_text())["state"] == "interrupted"


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["--epoch", "3"], 2), (["--resume", "latest"], 2)])
def test_flags_are_read_before_torch_is_loaded(words: list[str], code: int, tmp_path: Path) -> None:
    done = call("-X", "importtime", "-m", "samebench.training", *words, at=tmp_path)
    assert done.returncode == code, done.stderr
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "samebench.settings" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epoch", "3"], "unknown setting --epoch; did you mean --epochs?"),
        (["--epochs", "many"], "invalid int value: 'many'"),
        (["--epochs", "0"], "setting epochs=0 is impossible; take 1 or more"),
        (["--lr", "nan"], "argument --lr: invalid float value: 'nan': give a finite number"),
        (["--batch-size", "30"], "setting batch_size=30 is impossible; take a multiple of shards="),
        (["--network", "transformer"], "invalid choice: 'transformer'"),
        (["--data", "nowhere"], "no set of that name; there are blots, synthetic; or"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_in_one_line(words: list[str], said: str, tmp_path: Path) -> None:
    done = call("-m", "samebench.training", *words, at=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
