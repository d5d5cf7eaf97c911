"""What checkpoints cost: the time of a save at the defaults' size, against that of the training between two saves."""

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from apparel import checkpoint, data
from apparel.run import Run
from apparel.settings import Asked
from apparel.shards import workers
from apparel.train import choose_device
from apparel.training import Training
from samebench import cores, determinism

SAVES = 20
STEPS = 20  # trained between two saves, so that both are measured under the same load


def main() -> None:
    """Alternate saving and training; print the share that saves take at the defaults."""
    determinism.reexecute(fast=False)
    determinism.pin()
    asked = Asked()
    settings = asked.alone()
    known = data.load(settings.data)
    saving, training = [], []
    with TemporaryDirectory(dir=Path("runs")) as home, workers(cores.allowed()) as pool:
        run = Run.start(Path(home))
        at_work = Training(settings, known, run=run, pool=pool, device=choose_device(settings))
        at_work.best_weights = at_work.model.network.state_dict()  # as from the first epoch on
        batches = at_work.batches()
        for turn in range(SAVES):
            began = time.monotonic()
            for batch in batches[turn * STEPS % len(batches) :][:STEPS]:
                at_work.losses.append(at_work.step(batch))
            between = time.monotonic()
            at_work.save()
            training.append((between - began) / STEPS)
            saving.append(time.monotonic() - between)
        kept = checkpoint.newest(run)
        size = sum(tensor.nbytes for tensor in kept.tensors.values()) if kept else 0
        run.release()
    save, whole = statistics.median(saving), statistics.median(training) * at_work.steps * settings.epochs
    count = settings.epochs + whole // asked.checkpoint_seconds
    print(f"a save of {size / 1e6:.1f} MB: {1000 * save:.0f} ms, at most {1000 * max(saving):.0f} ms, n = {SAVES}")
    print(f"{count:.0f} of them in {whole:.0f} s of training at the defaults: {count * save / whole:.2%}")


if __name__ == "__main__":
    main()
