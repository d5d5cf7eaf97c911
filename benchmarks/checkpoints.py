"""What checkpoints cost: the time of a save at the defaults' size, against that of the training between two saves."""

import copy
import statistics
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from apparel import data
from apparel.settings import Settings
from apparel.task import TASK
from samebench.environment import accelerator, cores, determinism
from samebench.runs.run import Run
from samebench.settings import TrainOptions
from samebench.training import checkpoint
from samebench.training.loop import Training
from samebench.training.shards import workers

SAVES = 20
STEPS = 20  # trained between two saves, so that both are measured under the same load


@dataclass(frozen=True)
class Cost:
    """Seconds of a save and of a whole training at the defaults, and how many saves that has."""

    saves: list[float]
    training: float
    count: float
    size: int  # bytes

    @property
    def share(self) -> float:
        """Of the training time, from 0."""
        return self.count * statistics.median(self.saves) / self.training

    def __str__(self) -> str:
        """The figures, in two sentences."""
        save, most = 1000 * statistics.median(self.saves), 1000 * max(self.saves)
        return (
            f"a save of {self.size / 1e6:.1f} MB: {save:.0f} ms, at most {most:.0f} ms, n = {len(self.saves)}; "
            f"{self.count:.0f} of them in {self.training:.0f} s of training at the defaults: {self.share:.2%}"
        )


def measure() -> Cost:
    """Alternate saving and training."""
    settings, seconds = Settings(), TrainOptions().checkpoint_seconds
    known = data.load(settings.data)
    saving, training = [], []
    place = Path("runs")  # on the disk that checkpoints go to
    place.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=place) as home, workers(cores.available_cpus()) as pool:
        run = Run.start(Path(home))
        at_work = Training(settings, TASK, known, run=run, pool=pool, device=accelerator.choose(settings.device))
        at_work.best_weights = copy.deepcopy(at_work.model.network.state_dict())  # as from the first epoch on
        batches = cycle(at_work.batches())
        for _ in range(SAVES):
            began = time.monotonic()
            for batch in islice(batches, STEPS):
                at_work.losses.append(at_work.step(batch))
            between = time.monotonic()
            at_work.save()
            training.append((between - began) / STEPS)
            saving.append(time.monotonic() - between)
        kept = checkpoint.load_newest(run)
        size = sum(tensor.nbytes for tensor in kept.tensors.values()) if kept else 0
        run.release()
    whole = statistics.median(training) * at_work.steps * settings.epochs
    return Cost(saving, whole, settings.epochs + whole // seconds, size)


def main() -> None:
    """Print the share that saves take at the defaults."""
    determinism.reexecute(fast=False)
    determinism.pin()
    print(measure())


if __name__ == "__main__":
    main()
