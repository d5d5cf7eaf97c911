"""A short training that leaves no run behind, for notebooks and the golden run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samebench import project
from samebench.core import flags, signals
from samebench.core.command import UsageError
from samebench.environment import accelerator, cores
from samebench.runs.run import Run
from samebench.settings import TrainingSettings
from samebench.training import initial_models, same_bits
from samebench.training.loop import Training
from samebench.training.model import Model
from samebench.training.shards import worker_layout, workers
from samebench.training.task import DataModule


@dataclass(frozen=True)
class Trial:
    """The best model of a training and the figures of each epoch."""

    model: Model
    history: list[dict[str, Any]]


def batch_settings(data: DataModule, *, most: int = 100) -> dict[str, int]:
    """The settings `batch_size`, at most `most`, and `shards` for a trial on so few training examples."""
    count = len(data.training)
    if count < 8:
        return {"batch_size": max(2, count // 2), "shards": 1}
    return {"batch_size": max(8, min(most, count // 10) // 4 * 4), "shards": 4}


def train(settings: TrainingSettings, data: DataModule) -> Trial:
    """Train on `data`; the run's folder is gone when this returns."""
    if len(data.training) < settings.batch_size:
        raise UsageError(f"{len(data.training)} training examples, {settings.batch_size} in a batch; give more")
    worker_count, worker_cores = worker_layout(settings.shards, fast=settings.fast, cores=cores.available_cpus())
    with (
        tempfile.TemporaryDirectory(prefix="samebench-") as home,
        signals.interruptible() as stopped,
        workers(worker_count, cores=worker_cores) as pool,
    ):
        initial_model, init = initial_models.resolve_init_model(settings, project.task(), {}, data)
        run = Run.start(Path(home), settings=flags.to_dict(settings), init=init)
        try:
            training = Training(
                settings, project.task(), data, run=run, pool=pool, device=accelerator.choose(settings.device)
            )
            if initial_model:
                training.load_pretrained(initial_model)
            same_bits.record(training)
            training.fit(stopped)
        finally:
            run.release()
        return Trial(Model.load(run.weights), run.receipt["history"])
