"""The loop: everything that changes while training, how it changes, and how it is kept and taken up again."""

import copy
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from apparel.model import BATCH, Model, build_network
from apparel.settings import Settings
from samebench.core import flags
from samebench.core.command import Interrupted, UsageError
from samebench.environment import determinism
from samebench.project import Metric
from samebench.runs import run_files
from samebench.runs.metrics import to_receipt
from samebench.runs.run import Run
from samebench.tasks.image_classification import training_figures
from samebench.tasks.image_classification.augmentation import augment
from samebench.tasks.image_classification.image_data import Data, Split
from samebench.tasks.image_classification.preprocessing import Preprocessing
from samebench.training import checkpoint, cuda_graph
from samebench.training.checkpoint import Checkpoint
from samebench.training.curves import Curves
from samebench.training.process_group import SINGLE_PROCESS, ProcessGroup, rank_slice, split_evenly
from samebench.training.sample_random import order
from samebench.training.shards import DdpGradients, Gradients, ShardedGradients, in_order

METRICS = (Metric("accuracy", format=".2%"), Metric("loss", higher_is_better=False))
WARMUP_SHARE = 0.2  # share of the steps


def precision(settings: Settings, device: torch.device) -> str:
    """What is computed in: bf16 for --fast where the chip itself computes in it, otherwise float32."""
    if not settings.fast:
        return "float32"
    on_gpu = device.type == "cuda"
    pays = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else determinism.has_native_bf16()
    return "bf16" if pays else "float32"


class Training:
    """A network on its way, from any step to the last."""

    def __init__(
        self,
        settings: Settings,
        known: Data,
        *,
        run: Run,
        pool: ThreadPoolExecutor,
        device: torch.device,
        checkpoint_seconds: float = math.inf,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Stand before the first step; a checkpoint is due after each epoch and after `checkpoint_seconds`.

        All processes of `group` do the same steps, each its part of them; the one that leads writes and speaks.
        """
        self.settings, self.data, self.run, self.pool, self.device = settings, known, run, pool, device
        self.group = group
        self.checkpoint_seconds = checkpoint_seconds
        labels, preparation = known.labels, known.preparation
        network = build_network(settings.network, seed=settings.seed, labels=labels, preparation=preparation).to(device)
        self.training = known.training.to(device)  # as a whole: 43 MB
        self.init = run.receipt.get("init")
        preprocessing = known.preprocessing
        if self.init:
            preprocessing = Preprocessing.from_dict(self.init, channels=preparation.channels)
        self.model = Model(settings.network, network, labels, preprocessing, preparation)
        self.gradients: Gradients
        if settings.fast and group.size > 1:
            self.gradients = DdpGradients(network, group=group)
        else:
            # Of a GPU each part needs all: there are as many shards as devices.
            count = settings.shards if device.type == "cpu" else group.size
            self.gradients = ShardedGradients(network, count=count, pool=pool, group=group)
            if settings.fast and device.type == "cuda":
                images = self.model.preprocessing(self.training.images[: settings.batch_size])
                for replica in self.gradients.replicas:
                    cuda_graph.capture(replica, images, self.precision())
        self.optimizer = torch.optim.SGD(
            network.parameters(),
            lr=settings.lr,
            momentum=0.9,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )
        self.steps = len(known.training) // settings.batch_size
        self.history: list[dict[str, float]] = []  # the figures of each epoch that is done
        # Of each step that this epoch has done; on the device, so that no step waits for the one before.
        self.losses: list[Tensor] = []
        self.best_weights: Mapping[str, Tensor] = {}
        self.seconds_before = 0.0
        self.began = self.saved = time.monotonic()

    @property
    def epoch(self) -> int:
        """The epoch that is under way, from 1."""
        return len(self.history) + 1

    @property
    def steps_done(self) -> int:
        """Steps since the first epoch."""
        return len(self.history) * self.steps + len(self.losses)

    @property
    def best_loss(self) -> float:
        """The lowest validation loss so far."""
        return min((figures["validation_loss"] for figures in self.history), default=math.inf)

    @property
    def best_figures(self) -> dict[str, float]:
        """The validation figures of the epoch whose weights are kept: by them runs are chosen."""
        epoch = min(self.history, key=lambda figures: figures["validation_loss"])
        return {metric.name: epoch[f"validation_{metric.name}"] for metric in METRICS}

    @property
    def seconds(self) -> float:
        """Spent on this run, in all processes that worked on it."""
        return self.seconds_before + time.monotonic() - self.began

    def fit(self, stopped: Callable[[], bool]) -> None:
        """Train to the last epoch, keep the best weights, and ask the test images once."""
        with Curves(self.run.directory) if self.group.is_rank_zero else nullcontext() as curves:
            if curves:
                curves.repeat(self.history, pictured=self.pictured)
            while len(self.history) < self.settings.epochs:
                probabilities = self.train_epoch(stopped)
                if curves:
                    drawn = self.pictured(len(self.history))
                    shown = (
                        training_figures.draw(self.data.validation, probabilities, self.model.labels) if drawn else {}
                    )
                    curves.add(self.history[-1], step=len(self.history), pictures=shown)
        best = self.best_model()
        loss, accuracy, _ = self.evaluate(best, self.data.test())
        self.run.end(
            weights_sha256=best.digest(),
            model=best.to_dict(),
            metrics={"validation": self.best_figures, "test": {"accuracy": accuracy, "loss": loss}},
            seconds=round(self.seconds, 3),
        )

    def pictured(self, epoch: int) -> bool:
        """Whether there are pictures of this epoch."""
        return training_figures.due(epoch, epochs=self.settings.epochs)

    def train_epoch(self, stopped: Callable[[], bool]) -> Tensor:
        """See every training image once, then the validation images, of which it returns the probabilities (N, 10).

        The epoch's figures go into `history`.
        """
        for batch in tqdm(self.batches()[len(self.losses) :], **self._bar()):
            late = time.monotonic() - self.saved >= self.checkpoint_seconds
            stop, due = self.group.any_rank(stopped() or self.group.launcher_died, late)
            if stop or (due and self.losses):
                self.save()
            if stop:
                raise Interrupted(f"{self.run.directory}: interrupted in epoch {self.epoch} of {self.settings.epochs}")
            self.losses.append(self.step(batch))
        self.group.barrier()  # gloo hears of who is gone; NCCL, which comes next on GPUs, would wait for them
        self.gradients.merge()
        validation_loss, accuracy, probabilities = self.evaluate(self.model, self.data.validation)
        if not math.isfinite(validation_loss):
            remedy = f"take a lower lr than {self.settings.lr}"
            said = f"{self.run.directory}: the loss is {validation_loss}; {remedy}"
            raise UsageError(said if self.group.is_rank_zero else "")
        if validation_loss < self.best_loss:
            self.best_weights = copy.deepcopy(self.model.network.state_dict())
            if self.group.is_rank_zero:
                self.run.check_is_ours()
                self.model.save(self.run.weights)
        figures = {
            "train_loss": sum(torch.stack(self.losses).tolist()) / len(self.losses),
            "validation_loss": validation_loss,
            "validation_accuracy": accuracy,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds - sum(each["seconds"] for each in self.history), 3),
        }
        if self.group.is_rank_zero:
            print(_line(self.epoch, self.settings.epochs, figures), flush=True)
        self.history.append(figures)
        self.losses = []
        self.save()
        figures_so_far = {"validation": self.best_figures}
        self.run.record(history=self.history, metrics=figures_so_far, metric_definitions=to_receipt(METRICS))
        return probabilities

    def batches(self) -> list[Tensor]:
        """This epoch's batches of indices (batch_size,); the few left over are seen in another epoch."""
        shuffled = order(len(self.data.training), seed=self.settings.seed, epoch=self.epoch, purpose="order")
        return list(torch.split(shuffled, self.settings.batch_size)[: self.steps])

    def step(self, batch: Tensor) -> Tensor:
        """Learn from one batch of indices; return its loss, a scalar."""
        value = self.gradients(self.loss, batch)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self.lr_factor()
        self.optimizer.step()
        return value

    def loss(self, network: nn.Module, indices: Tensor) -> Tensor:
        """Mean loss of `network` on the training images at `indices` (N,), augmented."""
        split = self.training.select(indices.to(self.device, non_blocking=True))
        blank = self.data.preparation.shifted_in
        images = augment(split.images, indices, seed=self.settings.seed, epoch=self.epoch, blank=blank)
        with self.precision():
            logits = network(self.model.preprocessing(images))
        return functional.cross_entropy(logits.float(), split.labels, label_smoothing=self.settings.label_smoothing)

    def lr_factor(self) -> float:
        """The learning rate's share of its highest: up in the first fifth of the steps, then down to none."""
        return lr_factor_at(self.steps_done, self.steps * self.settings.epochs)

    def evaluate(self, model: Model, split: Split) -> tuple[float, float, Tensor]:
        """Mean loss without smoothing, accuracy 0 to 1, and the probabilities (N, 10), of `model` on a split."""

        def ask(indices: Tensor) -> tuple[Tensor, Tensor]:
            part = split.select(indices)
            probabilities = model.predict(part.images)
            losses = functional.nll_loss(probabilities.clamp_min(1e-12).log(), part.labels, reduction="none")
            right = (probabilities.argmax(1) == part.labels).double()
            return torch.stack([losses.double().sum(), right.sum()]), probabilities

        batches = torch.split(torch.arange(len(split)), BATCH)
        told = in_order(self.pool, ask, batches[rank_slice(len(batches), self.group)])
        counts = split_evenly(len(batches), size=self.group.size)
        sums = torch.stack([each for each, _ in told]) if told else torch.empty(0, 2, dtype=torch.float64)
        loss, right = self.group.gather(sums, counts).sum(0).tolist()
        images = [int(each.sum()) for each in torch.split(torch.tensor([len(batch) for batch in batches]), counts)]
        probabilities = torch.cat([torch.empty(0, len(model.labels)), *(each for _, each in told)])
        return loss / len(split), right / len(split), self.group.gather(probabilities, images)

    def best_model(self) -> Model:
        """The model with the best weights so far."""
        network = copy.deepcopy(self.model.network)
        network.load_state_dict(self.best_weights)
        return replace(self.model, network=network)

    def precision(self) -> torch.autocast | nullcontext[None]:
        """Autocast to bf16 where that is the precision; otherwise as it is."""
        in_bf16 = precision(self.settings, self.device) == "bf16"
        # Each weight is used once a step, so that there is nothing to cache; a CUDA graph must not.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if in_bf16 else nullcontext()

    def save(self) -> None:
        """Put a checkpoint of this very step into the run. Raises OSError naming the file and the bytes needed."""
        state = self.state()
        if self.group.is_rank_zero:
            checkpoint.save(self.run, state)
        self.saved = time.monotonic()

    def state(self) -> Checkpoint:
        """Everything that `restore` needs to stand here again, in any process on any machine."""
        tensors = {"losses": torch.tensor([float(loss) for loss in self.losses], dtype=torch.float64)}
        tensors |= _with_prefix("network", self.model.network.state_dict())
        tensors |= _with_prefix("best", self.best_weights)
        for place, buffers in enumerate(self.gradients.buffers()):
            tensors |= _with_prefix(f"shard.{place}", buffers)
        for place, moments in self.optimizer.state_dict()["state"].items():
            tensors |= _with_prefix(f"optimizer.{place}", moments)
        return Checkpoint(
            tensors=tensors,
            step=self.steps_done,
            settings=flags.to_dict(self.settings),
            data_version=self.data.version,
            device=self.device.type,
            history=self.history,
            seconds=round(self.seconds, 3),
            init=self.init,
        )

    def load_pretrained(self, model: Model) -> None:
        """Stand before the first step with the weights of `model`, of which the run's receipt tells."""
        rows = self.model.load_pretrained(model)
        self.gradients.restore([dict(self.model.network.named_buffers())] * self.gradients.count)
        if self.group.is_rank_zero:
            came = f"with its mean and deviation, and of its head the rows of {rows} of {len(self.model.labels)} labels"
            print(f"{self.run.directory}: starts from {self.settings.init}, {came}", flush=True)

    @torch.no_grad()
    def restore(self, kept: Checkpoint) -> None:
        """Stand where `kept` was made. Raises UsageError where it was made by code whose state looks different.

        With `fast` each process has a part of the batch, so it also refuses another number of them.
        """
        network = self.model.network
        parameters = list(network.parameters())
        shards = {name.split(".")[1] for name in kept.tensors if name.startswith("shard.")}
        if shards and len(shards) != self.gradients.count:
            remedy = "resume with as many processes as it had"
            said = f"{self.run.directory}: {len(shards)} parts a batch, here {self.gradients.count}; {remedy}"
            raise UsageError(said if self.group.is_rank_zero else "")
        try:
            network.load_state_dict(_without_prefix("network", kept.tensors))
            self.best_weights = _without_prefix("best", kept.tensors)
            self.gradients.restore(
                [_without_prefix(f"shard.{place}", kept.tensors) for place in range(self.gradients.count)]
            )
            for name, tensor in _without_prefix("optimizer", kept.tensors).items():
                number, _, key = name.partition(".")
                parameter = parameters[int(number)]
                self.optimizer.state[parameter][key] = _like(parameter, tensor)
            self.losses = list(kept.tensors["losses"].float().to(self.device))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{self.run.directory}: a checkpoint of other code ({reason}); start a new run") from error
        self.history, self.seconds_before = kept.history, kept.seconds
        self._refuse_foreign_weights()
        if self.best_weights and self.group.is_rank_zero:
            # Written anew: a kill may have come between the model and the checkpoint that knows of it.
            self.best_model().save(self.run.weights)

    def _refuse_foreign_weights(self) -> None:
        """Raise UsageError where the run is done and its receipt names other weights than this, its last epoch, has."""
        receipt, place = self.run.receipt, f"{self.run.directory}: of its newest checkpoint"
        if receipt.get("state") != "done" or len(receipt.get("history", [])) != len(self.history):
            return
        if problem := run_files.describe_mismatch(self.best_model().digest(), receipt):
            said = f"{place} {problem}; take the run from where it was trained"
            raise UsageError(said if self.group.is_rank_zero else "")

    def _bar(self) -> dict[str, Any]:
        return {
            "desc": f"epoch {self.epoch}/{self.settings.epochs}",
            "unit": "step",
            "initial": len(self.losses),
            "total": self.steps,
            "disable": None if self.group.is_rank_zero else True,  # None: not on a terminal
            "leave": False,
        }


def lr_factor_at(step: int, steps: int) -> float:
    """The share of the highest learning rate that step number `step` of `steps` has, from 0."""
    done = (step + 1) / (steps + 1)
    return min(done / WARMUP_SHARE, (1 - done) / (1 - WARMUP_SHARE))


def _line(epoch: int, epochs: int, figures: dict[str, float]) -> str:
    return (
        f"epoch {epoch}/{epochs}  train loss {figures['train_loss']:.4f}  "
        f"validation loss {figures['validation_loss']:.4f}  "
        f"accuracy {figures['validation_accuracy']:.2%}  {figures['seconds']:.1f} s"
    )


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """In the parameter's own memory format, as the optimizer had made it."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _with_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _without_prefix(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
