"""Train a network on Fashion-MNIST, the same to the bit wherever it runs, in one go or in many.

python -m apparel.train --epochs 1 --seed 3
python -m apparel.train --resume latest
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from apparel import checkpoint, data
from apparel.checkpoint import Checkpoint
from apparel.run import RUNS, Run, now
from apparel.settings import Asked, Settings
from apparel.shards import crew, workers
from apparel.training import Training, precision
from samebench import accelerator, command, cores, determinism, files, receipt
from samebench import settings as flags
from samebench.command import Interrupted, Lacking, Refusal

LENGTH = {"settings.epochs"}  # what may change when a run is resumed
PLACES = {"settings.data"}  # where the data lies is no input; its version is


def train(
    settings: Settings,
    *,
    run: Run | None = None,
    runs: Path = RUNS,
    threads: int | None = None,
    checkpoint_seconds: float = math.inf,
) -> Run:
    """Train as `settings` say and leave a run in `runs`, or resume `run` from its newest whole checkpoint.

    Neither the number of threads nor checkpoints and interruptions change what comes out. Raises Refusal or
    Lacking before any work where something is wrong, Interrupted on Ctrl-C or SIGTERM.
    """
    determinism.pin(fast=settings.fast)
    device = accelerator.choose(settings.device)
    known = load(settings)
    count, each = crew(settings, cores=threads or cores.allowed())
    facts = {
        "settings": asdict(settings),
        "data_version": known.version,
        "device": device.type,
        "precision": precision(settings, device),
        "threads": count * each,
        **accelerator.facts(device),
        **receipt.inputs(),
    }
    resumed = run is not None
    kept = take_up(run, facts) if run else None
    run = run or Run.start(runs, uncommitted=receipt.uncommitted(), **facts)
    with released(run), command.interruptible() as stopped, workers(count, cores=each) as pool:
        training = Training(settings, known, run=run, pool=pool, device=device, checkpoint_seconds=checkpoint_seconds)
        if kept:
            training.restore(kept)
        with recorded(run):
            if resumed:
                resume(run, kept, facts)
            training.fit(stopped)
    return run


def load(settings: Settings) -> data.Data:
    """The data that the settings name. Raises Refusal where it is too little for a batch."""
    known = data.load(settings.data)
    if (most := len(known.training)) < settings.batch_size:
        remedy = f"take {most} or less, as many as there are training images"
        raise Refusal(f"setting batch_size={settings.batch_size} is impossible; {remedy}")
    return known


@contextmanager
def released(run: Run) -> Iterator[None]:
    """Let others work on the run in the end."""
    try:
        yield
    finally:
        run.release()


@contextmanager
def recorded(run: Run) -> Iterator[None]:
    """Put an end before the last epoch into the receipt, and tell how to resume after an interruption."""
    try:
        yield
    except Interrupted as interrupted:
        run.record(state="interrupted")
        raise Interrupted(f"{interrupted}; resume with: {resuming(run)}") from None
    except BaseException as error:
        if reason := accelerator.lost(error):
            run.record(state="interrupted")
            kept = checkpoint.path(run) or "no checkpoint yet"
            raise Lacking(
                f"{run.directory}: the GPU is lost ({reason}); {kept}; resume with: {resuming(run)}"
            ) from error
        run.fail()
        raise


def resuming(run: Run) -> str:
    """The command that goes on with it."""
    return f"make train {'GPU=1 ' if run.receipt.get('device') == 'cuda' else ''}RESUME={run.directory}"


def take_up(run: Run, facts: Mapping[str, Any]) -> Checkpoint | None:
    """Hold `run` and give its newest whole checkpoint, None where it had not come to its first.

    Raises Refusal where the run is done, in progress, or would resume with other settings or data than it has.
    """
    alone = run.hold()
    try:
        if alone:
            files.sweep(run.directory)
        kept = checkpoint.newest(run)
        agree(run, kept, facts)
    except BaseException:
        run.release()
        raise
    return kept


def resume(run: Run, kept: Checkpoint | None, facts: Mapping[str, Any]) -> None:
    """Tell where the run goes on and what has changed since it began, and put both into the receipt."""
    changed = receipt.changes(run.receipt, facts, but=PLACES)
    code_changed = any(line.startswith("code.") for line in changed)
    step = kept.step if kept else 0
    print("\n  changed since it began: ".join([f"{run.directory}: resumes after step {step}", *changed]), flush=True)
    entry = {"at": now(), "step": step, "changed": changed, "commit": facts["code"]["commit"]}
    uncommitted = receipt.uncommitted() if code_changed else b""
    run.resume(entry, uncommitted=uncommitted, settings=facts["settings"], history=kept.history if kept else [])


def agree(run: Run, kept: Checkpoint | None, facts: Mapping[str, Any]) -> None:
    """Raise Refusal where `run`, which stands at `kept`, can't resume with these facts, naming each that differs."""
    asked = {name: facts[name] for name in ("settings", "data_version", "device")}
    before = kept.facts() if kept else run.receipt
    if contradictions := receipt.changes(before, asked, among=asked, but=LENGTH | PLACES):
        remedy = "leave them as they were" if contradictions[1:] else "leave it as it was"
        raise Refusal(f"{run.directory}: {'; '.join(contradictions)}; {remedy}, or start a new run")
    epochs, done = facts["settings"]["epochs"], len(kept.history) if kept else 0
    if epochs < done:
        raise Refusal(f"{run.directory}: epochs={epochs} is impossible, {done} are done; give {done} or more")
    if epochs == done and run.receipt.get("state") == "done":
        raise Refusal(f"{run.directory}: done, all {done} epochs; give more with --epochs, or start a new run")


def ask(argv: Sequence[str]) -> tuple[Asked, Run | None]:
    """What the flags ask for, and the run to resume, whose settings then are the flags' defaults."""
    parse = partial(flags.parse, Asked, argv, program="python -m apparel.train", about="Train on Fashion-MNIST.")
    asked = parse()
    if not asked.resume:
        return asked, None
    run = Run.newest(RUNS) if asked.resume == "latest" else Run.open(Path(asked.resume))
    return parse(defaults=asdict(run.settings())), run


def main(argv: Sequence[str]) -> None:
    """Parse, pin, train, tell where the run is."""
    asked, run = ask(argv)
    determinism.reexecute(fast=asked.fast)
    run = train(asked.alone(), run=run, checkpoint_seconds=asked.checkpoint_seconds)
    print(f"{run.directory}: done, test accuracy {run.receipt['test_accuracy']:.2%}")


if __name__ == "__main__":
    command.run(main)
