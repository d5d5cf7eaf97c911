"""The training loop: epochs, steps, evaluation and checkpoints."""

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
from tqdm import tqdm

from samebench.core import flags
from samebench.core.command import Interrupted, UsageError
from samebench.environment import determinism
from samebench.runs import metrics, run_files
from samebench.runs.run import Run
from samebench.settings import TrainingSettings
from samebench.training import cuda_graph, layers, state
from samebench.training.checkpoint import Checkpoint
from samebench.training.checkpoint import save as save_checkpoint
from samebench.training.curves import Curves
from samebench.training.device_data import on_device
from samebench.training.foreign_weights import ForeignWeights
from samebench.training.initial_models import InitialModel
from samebench.training.model import Model, batches_of, build_network
from samebench.training.process_group import SINGLE_PROCESS, ProcessGroup, rank_slice, split_evenly
from samebench.training.sample_random import order
from samebench.training.shards import DdpGradients, Gradients, ShardedGradients, in_order
from samebench.training.task import DataModule, Dataset, Predictions, SampleRandom, Task
from samebench.training.tensor_dataset import allocate

MAX_FIGURES = 40  # epochs of a run that have figures: 65 kB each, so less than 3 MB


def precision(device: torch.device, *, fast: bool) -> str:
    """`bf16` for --fast on a chip that computes in bf16 itself, otherwise `float32`."""
    if not fast:
        return "float32"
    on_gpu = device.type == "cuda"
    is_native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else determinism.has_native_bf16()
    return "bf16" if is_native else "float32"


class Training:
    """The training of one network, from any step to the last."""

    def __init__(
        self,
        settings: TrainingSettings,
        task: Task,
        data: DataModule,
        *,
        run: Run,
        pool: ThreadPoolExecutor,
        device: torch.device,
        checkpoint_seconds: float = math.inf,
        group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        """Start before the first step. It saves a checkpoint after each epoch and every `checkpoint_seconds`.

        The processes of `group` do each step together, each on its part of the batch. Rank 0 writes and prints.
        """
        self.settings, self.task, self.data, self.run = settings, task, data, run
        self.pool, self.device, self.group = pool, device, group
        self.checkpoint_seconds = checkpoint_seconds
        self.init = run.receipt.get("init")
        spec = task.adopt_spec(data.spec, self.init["spec"]) if self.init else data.spec
        network = build_network(task, settings, spec).to(device)
        self.training = on_device(data.training, device)
        self.model = Model(task, settings, network, spec)
        self.gradients: Gradients
        if settings.fast and group.size > 1:
            self.gradients = DdpGradients(network, group=group)
        else:
            # A shard on a GPU uses all of it, so there are as many shards as GPUs.
            count = settings.shards if device.type == "cpu" else group.size
            self.gradients = ShardedGradients(network, count=count, pool=pool, group=group)
            has_dropout = any(isinstance(layer, layers.Dropout) for layer in network.modules())
            if settings.fast and device.type == "cuda" and not has_dropout:  # a graph would repeat its random numbers
                batch = self.training.get_batch(torch.arange(settings.batch_size))
                inputs = task.preprocess(batch, spec)
                for replica in self.gradients.replicas:
                    cuda_graph.capture(replica, inputs, self.precision())
        self.optimizer = task.build_optimizer(network, settings)
        self.max_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = len(data.training) // settings.batch_size
        self.history: list[dict[str, float]] = []  # the figures of each epoch that is done
        self.losses: list[Tensor] = []  # of the steps of this epoch; on the device, so that no step waits for another
        self.best_weights: Mapping[str, Tensor] = {}
        self.seconds_before = 0.0
        self.start_time = self.save_time = time.monotonic()

    @property
    def epoch(self) -> int:
        """The number of the current epoch, from 1."""
        return len(self.history) + 1

    @property
    def steps_done(self) -> int:
        """The number of steps since the start of the first epoch."""
        return len(self.history) * self.steps + len(self.losses)

    @property
    def best_epoch(self) -> dict[str, float]:
        """The figures of the best epoch so far, whose weights are the run's."""
        return max(self.history, key=lambda figures: metrics.rank(self._as_receipt(figures)))

    def is_best(self, figures: Mapping[str, float]) -> bool:
        """Whether an epoch with these figures is better than all before it."""
        ranks = [metrics.rank(self._as_receipt(earlier)) for earlier in self.history]
        return metrics.rank(self._as_receipt(figures)) > max(ranks, default=())

    def _as_receipt(self, figures: Mapping[str, float]) -> dict[str, Any]:
        validation = {metric.name: figures[f"validation_{metric.name}"] for metric in self.task.metrics}
        return {"metrics": {"validation": validation}, "metric_definitions": metrics.to_receipt(self.task.metrics)}

    @property
    def seconds(self) -> float:
        """Seconds spent on this run, including those before a resume."""
        return self.seconds_before + time.monotonic() - self.start_time

    def fit(self, stopped: Callable[[], bool]) -> None:
        """Train to the last epoch, save the best weights, and evaluate them on the test examples once."""
        with Curves(self.run.directory) if self.group.is_rank_zero else nullcontext() as curves:
            if curves:
                curves.repeat(self.history, has_pictures=self.has_figures)
            while len(self.history) < self.settings.epochs:
                predictions = self.train_epoch(stopped)
                if curves:
                    figures: Mapping[str, bytes] = {}
                    if self.has_figures(len(self.history)):
                        figures = self.task.draw_figures(predictions, self.data.validation, self.model.spec)
                    curves.add(self.history[-1], step=len(self.history), pictures=figures)
        best = self.best_model()
        test, _ = self.evaluate(best, self.data.test())
        self.run.end(
            weights_sha256=best.digest(),
            model=best.to_dict(),
            metrics={**self._as_receipt(self.best_epoch)["metrics"], "test": test},
            seconds=round(self.seconds, 3),
        )

    def has_figures(self, epoch: int) -> bool:
        """Whether an epoch, from 1, has figures."""
        return has_figures(epoch, epochs=self.settings.epochs)

    def train_epoch(self, stopped: Callable[[], bool]) -> Predictions:
        """Train on every training example once, append the figures to `history`, and save.

        Returns the predictions on the validation examples.
        """
        batches = self.batches()[len(self.losses) :]
        for batch, following in zip(tqdm(batches, **self._progress_bar()), [*batches[1:], None], strict=True):
            save_due = time.monotonic() - self.save_time >= self.checkpoint_seconds
            stop, save_due = self.group.any_rank(stopped() or self.group.launcher_died, save_due)
            if stop or (save_due and self.losses):
                self.save()
            if stop:
                raise Interrupted(f"{self.run.directory}: interrupted in epoch {self.epoch} of {self.settings.epochs}")
            self.losses.append(self.step(batch))
            if following is not None:
                self.training.prefetch(following.chunk(self.gradients.count)[self.gradients.local][0])
        self.group.barrier()  # gloo detects a lost process; NCCL, which GPUs use next, would wait for it
        self.gradients.merge()
        validation, predictions = self.evaluate(self.model, self.data.validation)
        figures = {
            "train_loss": sum(torch.stack(self.losses).tolist()) / len(self.losses),
            **{f"validation_{name}": value for name, value in validation.items()},
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": round(self.seconds - sum(earlier["seconds"] for earlier in self.history), 3),
        }
        self._check_finite(figures)
        if self.is_best(figures):
            self.best_weights = copy.deepcopy(self.model.network.state_dict())
            if self.group.is_rank_zero:
                self.run.check_is_ours()
                self.model.save(self.run.weights)
        if self.group.is_rank_zero:
            print(self._line(figures), flush=True)
        self.history.append(figures)
        self.losses = []
        self.save()
        self.run.record(history=self.history, **self._as_receipt(self.best_epoch))
        return predictions

    def _check_finite(self, figures: Mapping[str, float]) -> None:
        """Raise UsageError if a loss or a metric is not finite."""
        for name, value in figures.items():
            if not math.isfinite(value):
                what = "the loss" if name.endswith("loss") else name
                message = f"{self.run.directory}: {what} is {value}; take a lower lr than {self.settings.lr}"
                raise UsageError(message if self.group.is_rank_zero else "")

    def _line(self, figures: Mapping[str, float]) -> str:
        receipt = self._as_receipt(figures)
        values = (f"{metric.name} {metrics.show(f'validation_{metric.name}', receipt)}" for metric in self.task.metrics)
        start = f"epoch {self.epoch}/{self.settings.epochs}  train loss {figures['train_loss']:.4f}"
        return f"{start}  validation {'  '.join(values)}  {figures['seconds']:.1f} s"

    def batches(self) -> list[Tensor]:
        """This epoch's batches of indices (batch_size,), without an incomplete last one."""
        shuffled = order(len(self.data.training), seed=self.settings.seed, epoch=self.epoch, purpose="order")
        return list(torch.split(shuffled, self.settings.batch_size)[: self.steps])

    def step(self, batch: Tensor) -> Tensor:
        """Train on one batch of indices (batch_size,); return its loss, a scalar."""
        value = self.gradients(self.loss, batch)
        for group, rate in zip(self.optimizer.param_groups, self.max_rates, strict=True):
            group["lr"] = rate * self.lr_factor()
        self.update(self.model.network, self.optimizer)
        return value

    def update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights by their gradients, clipped if `clip_norm` is set."""
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), self.settings.clip_norm, foreach=False)
        optimizer.step()

    def loss(self, network: nn.Module, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The sums of loss and weight of `network` on the augmented training examples at `indices` (N,)."""
        batch = self.training.get_batch(indices)
        random = SampleRandom(self.settings.seed, self.epoch, indices)
        batch = self.task.augment(batch, random, self.model.spec)
        with self.precision(), layers.draw_from(random):
            outputs = network(*self.task.preprocess(batch, self.model.spec))
        return self.task.loss(outputs, batch, self.settings, self.model.spec)

    def lr_factor(self) -> float:
        """The learning rate of the next step, as a fraction of the highest."""
        return lr_factor_at(self.task, self.steps_done, self.steps * self.settings.epochs)

    def evaluate(self, model: Model, dataset: Dataset) -> tuple[dict[str, float], Predictions]:
        """The metrics of `model` on a data set, and its predictions. Each process computes some of the batches.

        Each batch is written into a tensor of all: a small result that stays between the large tensors of the next
        batches would keep the allocator from using their memory again.
        """

        def evaluate_batch(indices: Tensor) -> tuple[Mapping[str, Tensor], Predictions]:
            batch = dataset.get_batch(indices)
            predictions = model.predict(batch)
            return self.task.metric_sums(predictions, batch), predictions

        batches = batches_of(dataset)
        counts = split_evenly(len(batches), size=self.group.size)
        local_batches = batches[rank_slice(len(batches), self.group)]
        example_sums, example_predictions = evaluate_batch(batches[0][:1])  # names and shapes
        names, count = sorted(example_sums), sum(map(len, local_batches))
        local_sums = torch.empty(len(local_batches), len(names), dtype=torch.float64)
        local_predictions = {name: allocate(tensor, count) for name, tensor in example_predictions.items()}

        def fill(place: int) -> None:
            sums, part = evaluate_batch(local_batches[place])
            local_sums[place] = torch.stack([sums[name] for name in names])
            for name, tensor in part.items():
                local_predictions[name][place * len(batches[0]) :][: len(tensor)] = tensor

        in_order(self.pool, fill, range(len(local_batches)))
        totals = self.group.gather(local_sums, counts).sum(0).tolist()
        figures = self.task.compute_metrics(dict(zip(names, totals, strict=True)), len(dataset))
        sizes = [int(part.sum()) for part in torch.split(torch.tensor([len(batch) for batch in batches]), counts)]
        return dict(figures), {name: self.group.gather(tensor, sizes) for name, tensor in local_predictions.items()}

    def best_model(self) -> Model:
        """The model with the best weights so far."""
        network = copy.deepcopy(self.model.network)
        network.load_state_dict(self.best_weights)
        return replace(self.model, network=network)

    def precision(self) -> torch.autocast | nullcontext[None]:
        """The context of a forward pass: autocast if the precision is bf16."""
        in_bf16 = precision(self.device, fast=self.settings.fast) == "bf16"
        # No cache: each weight is used once a step, and a CUDA graph must not cache.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False) if in_bf16 else nullcontext()

    def save(self) -> None:
        """Save a checkpoint of the current step. Raises OSError naming the file and the bytes needed."""
        tensors = state.to_tensors(self.model.network, self.optimizer, self.gradients, self.best_weights, self.losses)
        if self.group.is_rank_zero:
            checkpoint = Checkpoint(
                tensors=tensors,
                step=self.steps_done,
                settings=flags.to_dict(self.settings),
                data_version=self.data.version,
                device=self.device.type,
                history=self.history,
                seconds=round(self.seconds, 3),
                init=self.init,
            )
            save_checkpoint(self.run, checkpoint)
        self.save_time = time.monotonic()

    def load_pretrained(self, initial_model: InitialModel | ForeignWeights) -> None:
        """Start from the weights of a model."""
        summary = initial_model.load_into(self.model)
        self.gradients.restore([dict(self.model.network.named_buffers())] * self.gradients.count)
        if self.group.is_rank_zero:
            print(f"{self.run.directory}: starts from {self.settings.init}, {summary}", flush=True)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue at the step of a checkpoint. Raises UsageError if its state does not fit this training.

        With `fast` each process has a part of the batch, so the number of processes must be the same.
        """
        parts, count = state.count_shards(checkpoint.tensors), self.gradients.count
        if parts not in {0, count}:
            message = (
                f"{self.run.directory}: {parts} parts a batch, here {count}; resume with as many processes as it had"
            )
            raise UsageError(message if self.group.is_rank_zero else "")
        try:
            for figures in checkpoint.history:
                self._as_receipt(figures)
            self.best_weights = state.load(checkpoint.tensors, self.model.network, self.optimizer, self.gradients)
            self.losses = list(checkpoint.tensors["losses"].float().to(self.device))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"{self.run.directory}: a checkpoint of other code ({reason}); start a new run") from error
        self.history, self.seconds_before = checkpoint.history, checkpoint.seconds
        self._check_weights()
        if self.best_weights and self.group.is_rank_zero:
            # A kill may have come after the model was written and before this checkpoint.
            self.best_model().save(self.run.weights)

    def _check_weights(self) -> None:
        """Raise UsageError if the run is done, and its receipt names different weights than its last checkpoint has."""
        receipt = self.run.receipt
        if receipt.get("state") != "done" or len(receipt.get("history", [])) != len(self.history):
            return
        if problem := run_files.describe_mismatch(self.best_model().digest(), receipt):
            message = f"of its newest checkpoint {problem}; take the run from where it was trained"
            raise UsageError(f"{self.run.directory}: {message}" if self.group.is_rank_zero else "")

    def _progress_bar(self) -> dict[str, Any]:
        return {
            "desc": f"epoch {self.epoch}/{self.settings.epochs}",
            "unit": "step",
            "initial": len(self.losses),
            "total": self.steps,
            "disable": None if self.group.is_rank_zero else True,  # None: not on a terminal
            "leave": False,
        }


def lr_factor_at(task: Task, step: int, steps: int) -> float:
    """The learning rate of step number `step`, from 0, of `steps`, as a fraction of the highest."""
    return task.lr_factor((step + 1) / (steps + 1))


def has_figures(epoch: int, *, epochs: int) -> bool:
    """Whether an epoch, from 1, has figures: the last one, and at most MAX_FIGURES at equal distances."""
    return epoch == epochs or epoch % -(-epochs // MAX_FIGURES) == 0
