"""Train a network on Fashion-MNIST, the same to the bit wherever it runs.

python -m apparel.train --epochs 1 --seed 3
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from apparel import data, networks
from apparel.augmentation import augment
from apparel.curves import Curves
from apparel.model import BATCH, Model, Preprocessing
from apparel.randomness import order
from apparel.run import Run
from apparel.settings import Settings
from apparel.shards import Shards, in_order, workers
from samebench import command, cores, determinism
from samebench import settings as flags
from samebench.command import Interrupted, Lacking, Refusal

RUNS = Path("runs")
WARM_UP = 0.2  # share of the steps


def train(settings: Settings, *, runs: Path = RUNS, threads: int | None = None) -> Run:
    """Train as `settings` say and leave a run in `runs`; the number of threads never changes what comes out.

    Raises Refusal or Lacking before any work where something is wrong, Interrupted on Ctrl-C or SIGTERM.
    """
    determinism.pin(fast=settings.fast)
    device = choose_device(settings)
    known = data.load(settings.data)
    if len(known.training) < settings.batch_size:
        raise Refusal(
            f"setting batch_size={settings.batch_size} is impossible; take {len(known.training)} or less, "
            f"as many as there are training images"
        )
    count = min(threads or cores.allowed(), settings.shards)
    facts = {
        "data_version": known.version,
        "cpu_level": determinism.level(),
        "threads": count,
        "device": device.type,
    }
    run = Run.start(runs, settings=asdict(settings), **facts)
    try:
        with command.interruptible() as stopped, workers(count) as pool:
            Training(settings, known, run=run, pool=pool, device=device).fit(stopped)
    except Interrupted:
        run.record(state="interrupted")
        raise
    except BaseException:
        run.fail()
        raise
    return run


def choose_device(settings: Settings) -> torch.device:
    """The device that the settings ask for. Raises Lacking for a GPU that is not visible."""
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.version.cuda else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise Lacking("no GPU is visible to this process; start it with one, or take --device cpu")
    return torch.device(name)


class Training:
    """Everything that changes while training, and how it changes."""

    def __init__(
        self,
        settings: Settings,
        known: data.Data,
        *,
        run: Run,
        pool: ThreadPoolExecutor,
        device: torch.device,
    ) -> None:
        """Stand before the first step."""
        self.settings, self.data, self.run, self.pool, self.device = settings, known, run, pool, device
        network = networks.make(settings.network, seed=settings.seed).to(device)
        preprocessing = Preprocessing.of(known.training.images)
        self.model = Model(settings.network, network, data.LABELS, preprocessing)
        self.shards = Shards(network, count=settings.shards, pool=pool)
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
        self.steps = len(known.training) // settings.batch_size
        self.epoch = self.steps_done = 0
        self.best = float("inf")

    def fit(self, stopped: Callable[[], bool]) -> None:
        """Train to the last epoch, keep the best weights, and ask the test images once."""
        began = time.monotonic()
        with Curves(self.run.directory) as curves:
            while self.epoch < self.settings.epochs:
                figures = self.train_epoch(stopped)
                curves.add(figures, step=self.epoch)
        best = Model.load(self.run.weights)
        _, accuracy = self.measure(best, self.data.test())
        seconds = round(time.monotonic() - began, 3)
        self.run.record(state="done", weights_sha256=best.digest(), test_accuracy=accuracy, seconds=seconds)

    def train_epoch(self, stopped: Callable[[], bool]) -> dict[str, float]:
        """See every training image once, then the validation images; return the epoch's figures."""
        began = time.monotonic()
        self.epoch += 1
        losses = [self.step(batch, stopped) for batch in tqdm(self.batches(), **self._bar())]
        self.shards.merge()
        validation_loss, accuracy = self.measure(self.model, self.data.validation)
        if not math.isfinite(validation_loss):
            remedy = f"take a lower lr than {self.settings.lr}"
            raise Refusal(f"{self.run.directory}: the loss is {validation_loss}; {remedy}")
        if validation_loss < self.best:
            self.best = validation_loss
            self.model.save(self.run.weights)
        figures = {
            "train_loss": sum(losses) / len(losses),
            "validation_loss": validation_loss,
            "validation_accuracy": accuracy,
            "seconds": round(time.monotonic() - began, 3),
        }
        history = [*self.run.receipt.get("history", []), figures]
        self.run.record(history=history, validation_loss=self.best)
        print(_line(self.epoch, self.settings.epochs, figures), flush=True)
        return figures

    def batches(self) -> list[Tensor]:
        """This epoch's batches of indices (batch_size,); the few left over are seen in another epoch."""
        shuffled = order(len(self.data.training), seed=self.settings.seed, epoch=self.epoch, purpose="order")
        return list(torch.split(shuffled, self.settings.batch_size)[: self.steps])

    def step(self, batch: Tensor, stopped: Callable[[], bool]) -> float:
        """Learn from one batch of indices; return its loss. Raises Interrupted instead when asked to stop."""
        if stopped():
            raise Interrupted(f"{self.run.directory}: interrupted in epoch {self.epoch} of {self.settings.epochs}")
        value = self.shards.gradients(self.loss, batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self.rate()
        self.optimizer.step()
        self.steps_done += 1
        return value

    def loss(self, network: nn.Module, indices: Tensor) -> Tensor:
        """Mean loss of `network` on the training images at `indices` (N,), augmented."""
        split = self.data.training.take(indices)
        images = augment(split.images, indices, seed=self.settings.seed, epoch=self.epoch)
        with self.precision():
            logits = network(self.model.preprocessing(images.to(self.device)))
        smoothing = self.settings.label_smoothing
        return functional.cross_entropy(logits.float(), split.labels.to(self.device), label_smoothing=smoothing)

    def rate(self) -> float:
        """The learning rate's share of its highest: up in the first fifth of the steps, then down to none."""
        done = (self.steps_done + 1) / (self.steps * self.settings.epochs + 1)
        return min(done / WARM_UP, (1 - done) / (1 - WARM_UP))

    def measure(self, model: Model, split: data.Split) -> tuple[float, float]:
        """Mean loss without smoothing, and accuracy 0 to 1, of `model` on a split."""
        probabilities = torch.cat(in_order(self.pool, model.predict, torch.split(split.images, BATCH)))
        loss = functional.nll_loss(probabilities.clamp_min(1e-12).log(), split.labels)
        return float(loss), float((probabilities.argmax(1) == split.labels).double().mean())

    def precision(self) -> torch.autocast | nullcontext[None]:
        """Autocast to bf16 for --fast where the chip computes in it; otherwise as it is."""
        pays = self.settings.fast and (self.device.type == "cuda" or determinism.bf16_pays())
        return torch.autocast(self.device.type, torch.bfloat16) if pays else nullcontext()

    def _bar(self) -> dict[str, Any]:
        return {
            "desc": f"epoch {self.epoch}/{self.settings.epochs}",
            "unit": "step",
            "disable": None,
            "leave": False,
        }


def _line(epoch: int, epochs: int, figures: dict[str, float]) -> str:
    return (
        f"epoch {epoch}/{epochs}  train loss {figures['train_loss']:.4f}  "
        f"validation loss {figures['validation_loss']:.4f}  "
        f"accuracy {figures['validation_accuracy']:.2%}  {figures['seconds']:.1f} s"
    )


def main(argv: Sequence[str]) -> None:
    """Parse, pin, train, tell where the run is."""
    settings = flags.parse(Settings, argv, program="python -m apparel.train", about="Train on Fashion-MNIST.")
    determinism.reexecute(fast=settings.fast)
    run = train(settings)
    print(f"{run.directory}: done, test accuracy {run.receipt['test_accuracy']:.2%}")


if __name__ == "__main__":
    command.run(main)
