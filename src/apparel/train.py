"""Train a network on a data set, the same to the bit wherever it runs, in one go or in many.

python -m apparel.train --epochs 1 --seed 3
python -m apparel.train --resume latest
"""

import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from apparel import checkpoint, data, initial, train_command
from apparel.checkpoint import Checkpoint
from apparel.initial import Initial
from apparel.run import RUNS, Run, now
from apparel.settings import Asked, Settings, small_steps
from apparel.shards import crew, workers
from apparel.training import Training, learning_rate_factor, precision
from samebench.core import command, files, flags
from samebench.core.command import Interrupted, Lacking, Refusal
from samebench.core.text import printable
from samebench.environment import accelerator, cores, determinism, drift
from samebench.runs import receipt, records
from samebench.training import launch
from samebench.training.process_group import ALONE, Group, Parted, joined

LENGTH = {"settings.epochs"}  # what may change when a run is resumed
PLACES = {"settings.data", *initial.PLACES}  # where the data lies is no input; its version is


def train(
    settings: Settings,
    *,
    run: Run | None = None,
    runs: Path = RUNS,
    threads: int | None = None,
    checkpoint_seconds: float = math.inf,
    group: Group = ALONE,
    reproduces: str = "",
) -> Run:
    """Train as `settings` say and leave a run in `runs`, or resume `run` from its newest whole checkpoint.

    A new run that `reproduces` another one, by its name, has that in its receipt: no command takes it unasked.
    Neither the number of threads, nor on a CPU that of processes, nor checkpoints and interruptions change what comes
    out. Raises Refusal or Lacking before any work where something is wrong, Interrupted on Ctrl-C or SIGTERM.
    """
    determinism.pin(fast=settings.fast)
    device = accelerator.choose(settings.device, number=group.local_rank)
    dealt_out(settings, device, group)
    begun = group.tell(run.receipt if run else {})
    with group.one_on_each_machine_first():
        known = load(settings)
        start, told = initial.given(settings, begun, known)
    count, each = crew(settings, cores=threads or max(1, cores.allowed() // group.local_size), group=group)
    facts = {
        "settings": flags.to_dict(settings),
        "data_version": known.version,
        "device": device.type,
        "precision": precision(settings, device),
        "threads": count * each,
        **accelerator.facts(device),
        "processes": {"count": group.size, "machines": group.machines},
        **({"job": group.job} if group.job else {}),
        **({"init": told} if told else {}),
        **receipt.inputs(),
    }
    mark = {"reproduces": reproduces} if reproduces else {}
    alike(facts, group)
    for line in receipt.notices() if group.leads else []:
        print(line, file=sys.stderr, flush=True)
    if group.leads and known.preprocessing.warning:
        print(f"warning: {known.preprocessing.warning}", file=sys.stderr, flush=True)
    if group.leads:
        facts["fingerprint"] = examine_environment()
    resumed = run is not None
    run, kept = take_up(run, facts, group) if run else (begin(runs, facts | mark, group), None)
    with released(run), command.interruptible() as stopped, workers(count, cores=each) as pool:
        with recorded(run, group):  # on a GPU it needs room
            training = Training(
                settings, known, run=run, pool=pool, device=device, checkpoint_seconds=checkpoint_seconds, group=group
            )
        if kept:
            training.restore(kept)
        elif told:
            with group.one_on_each_machine_first():
                start = start or initial.again(settings.init, told)
            training.take_over(start.model)
        with recorded(run, group):
            if resumed and group.leads:
                resume(run, kept, facts)
                if kept:
                    print(schedule_change(run, kept, settings, training.steps), end="", flush=True)
            training.fit(stopped)
    return run


def examine_environment() -> dict[str, Any] | None:
    """The receipt's `fingerprint`; what is not as the locks and the image say is printed, a line each."""
    found = drift.examine()
    if found is None:
        print(
            "drift: the installed files can't be read, so the receipt has no fingerprint; make doctor", file=sys.stderr
        )
    for line in found["drift"] if found else []:
        print(f"drift: {printable(line)}; make doctor says what mends it", file=sys.stderr, flush=True)
    return found


def dealt_out(settings: Settings, device: torch.device, group: Group) -> None:
    """Raise Refusal, said by the leader, where a batch can't be dealt out to so many processes."""
    said = ""
    if device.type == "cuda" or (settings.fast and group.size > 1):
        if settings.batch_size % group.size:
            said = f"setting batch_size={settings.batch_size} can't be dealt out; take a multiple of {group.size}"
    elif group.size > settings.shards:
        said = f"there are only {settings.shards} shards to work on; take fewer processes, or --shards {group.size}"
    if said:
        group.wait()  # who left while others still come in would be said to be lost
        raise Refusal(f"{group.size} processes: {said}" if group.leads else "")


def alike(facts: Mapping[str, Any], group: Group) -> None:
    """Raise Refusal where the leader would train something else than this process, naming each fact that differs."""
    theirs = group.tell(facts)
    differing = receipt.changes(theirs, facts, but=PLACES, called=("for process 0", f"for process {group.rank}"))
    (somewhere,) = group.any(bool(differing))
    if differing:
        remedy = "give every machine the same checkout and the same words"
        raise Refusal(f"{platform.node()}: {'; '.join(differing)}; {remedy}")
    if somewhere:
        # As the one that differs does: code 4 of another machine would have a cluster start it all again.
        raise Refusal("" if group.local_rank else f"{platform.node()}: another process has other inputs")


def load(settings: Settings) -> data.Data:
    """The data that the settings name. Raises Refusal where it is too little for a batch."""
    known = data.load(settings.data)
    if (most := len(known.training)) < settings.batch_size:
        remedy = f"there are {most} training images; take {small_steps(most)}"
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
def recorded(run: Run, group: Group = ALONE) -> Iterator[None]:
    """Put an end before the last epoch into the receipt, and tell how to resume after an interruption."""
    try:
        yield
    except Interrupted as interrupted:
        run.record(state="interrupted")
        parted = isinstance(interrupted, Parted)  # then one on each machine says so: the leader may be gone
        speaks = not group.local_rank if parted else group.leads
        where = f"{run.directory}: " if parted else ""
        raise Interrupted(f"{where}{interrupted}; resume with: {resuming(run)}" if speaks else "") from None
    except BrokenPipeError:
        # Nobody reads our lines any more, as when the sweep that started us was killed; or a mistake of ours.
        run.record(state="interrupted" if command.is_stdout_closed() else "failed")
        raise
    except BaseException as error:
        if reason := accelerator.exceeded(error):
            run.fail()
            raise Lacking(f"{run.directory}: {reason}; {smaller_batch(run)}") from error
        if reason := accelerator.lost(error):
            run.record(state="interrupted")
            kept = checkpoint.path(run) or "no checkpoint yet"
            raise Lacking(f"{run.directory}: {reason}; {kept}; resume with: {resuming(run)}") from error
        if reason := command.refused_by_machine(error):
            run.fail(state="interrupted")
            raise Lacking(f"{reason}; resume with: {resuming(run)}") from error
        run.fail()
        raise


def smaller_batch(run: Run) -> str:
    """The remedy for a batch that is too large for the GPU; a resume with a smaller one is refused."""
    settings = run.settings()
    half = settings.batch_size // 2 // settings.shards * settings.shards
    smaller = f'start a new run with ARGS="--batch-size {half}", or ' if half >= 2 * settings.shards else ""
    return f"batch_size={settings.batch_size} is too large for it; {smaller}resume on a larger GPU: {resuming(run)}"


def resuming(run: Run) -> str:
    """The command that goes on with it, as it is copied into a shell."""
    return run.resume_command()


def begin(runs: Path, facts: Mapping[str, Any], group: Group) -> Run:
    """A new run, which the leader makes."""
    run = Run.start(runs, uncommitted=receipt.uncommitted(), **facts) if group.leads else None
    directory = group.tell(str(run and run.directory))
    return run or Run.follow(Path(directory))


def take_up(run: Run, facts: Mapping[str, Any], group: Group) -> tuple[Run, Checkpoint | None]:
    """Hold `run` and load its newest whole checkpoint, None where it had not come to its first.

    Every process reads and verifies it for itself. Raises Refusal where the run is done, in progress, or would resume
    with other settings or data than it has.
    """
    kept = hold(run, facts) if group.leads else None
    directory, step = group.tell([str(run.directory), kept and kept.step])
    if group.leads:
        return run, kept
    run = Run.follow(Path(directory))
    kept = None if step is None else checkpoint.newest(run)
    if (kept and kept.step) != step:
        raise Refusal(f"{directory}: stands at step {kept and kept.step} on {platform.node()}, at {step} for process 0")
    return run, kept


def hold(run: Run, facts: Mapping[str, Any]) -> Checkpoint | None:
    """Keep others out of `run`, and give its newest whole checkpoint. Raises Refusal as `take_up` does."""
    alone = run.hold()
    try:
        if alone:
            files.sweep(run.directory)
            records.sweep(run.directory.parent)
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
    new = {name: facts[name] for name in ("settings", "processes", "job") if name in facts}
    run.resume(entry, uncommitted=uncommitted, history=kept.history if kept else [], **new)


def schedule_change(run: Run, kept: Checkpoint, settings: Settings, steps: int) -> str:
    """A line about the learning rate where a run resumes with other epochs of so many `steps`; otherwise nothing.

    The rate is a function of the share of all steps that are done, so that other epochs change it at once.
    """
    before = int(kept.settings["epochs"])
    if before == settings.epochs or not kept.step:
        return ""
    old = settings.lr * learning_rate_factor(kept.step - 1, steps * before)
    new = settings.lr * learning_rate_factor(kept.step, steps * settings.epochs)
    said = f"  learning rate: {old:.4g} after step {kept.step} of epochs={before}, {new:.4g} now with {settings.epochs}"
    if new <= old:
        return f"{said}\n"
    left = replace(settings, init="", epochs=max(1, settings.epochs - before), lr=float(f"{settings.lr / 10:.2g}"))
    words = train_command.start(run.receipt, flags.to_dict(left), init=run.weights)
    return f"{said}: a jump; a new run from its best weights has none: {words}\n"


def agree(run: Run, kept: Checkpoint | None, facts: Mapping[str, Any]) -> None:
    """Raise Refusal where `run`, which stands at `kept`, can't resume with these facts, naming each that differs."""
    asked = {name: facts.get(name) for name in ("settings", "data_version", "device", "init")}
    before = kept.facts() if kept else run.receipt
    if contradictions := receipt.changes(before, asked, among=asked, but=LENGTH | PLACES):
        remedy = "leave them as they were" if contradictions[1:] else "leave it as it was"
        raise Refusal(f"{run.directory}: {'; '.join(contradictions)}; {remedy}, or start a new run")
    if kept and not all(then == now for then, now in zip(kept.history, run.receipt.get("history", []), strict=False)):
        said = "its newest checkpoint has other figures than its receipt"
        raise Refusal(f"{run.directory}: {said}; take the run from where it was trained")
    epochs, done = facts["settings"]["epochs"], len(kept.history) if kept else 0
    if epochs < done:
        raise Refusal(f"{run.directory}: epochs={epochs} is impossible, {done} are done; give {done} or more")
    if epochs == done and run.receipt.get("state") == "done":
        left = [each for each in records.ordinary(records.find(run.directory.parent)) if each.state == "interrupted"]
        other = "start a new run"
        if left:
            resumed = train_command.resume(left[0].directory, left[0].receipt)
            other = f"finish the one that was interrupted: {resumed}"
        raise Refusal(
            f'{run.directory}: done, all {done} epochs; give more, such as ARGS="--epochs {2 * done}", or {other}'
        )


def ask(argv: Sequence[str]) -> tuple[Asked, Run | None]:
    """What the flags ask for, and the run to resume, whose settings then are the flags' defaults.

    Where they name a model to start from, its network is the default.
    """
    parse = partial(flags.parse, Asked, argv, program="python -m apparel.train", about="Train on a data set.")
    asked = parse()
    if not asked.resume:
        return parse(defaults={"network": Initial.load(asked.init).model.name}) if asked.init else asked, None
    run = Run.newest(RUNS) if asked.resume == "latest" else Run.open(records.folder(asked.resume))
    return parse(defaults=asdict(run.settings())), run


def main(argv: Sequence[str]) -> int | None:
    """Parse, pin, train, tell where the run is; in as many processes as are asked for."""
    asked, run = ask(argv)
    determinism.reexecute(fast=asked.fast)
    if accelerator.wanted():
        accelerator.require()
    if (code := launch.torchrun("apparel.train", argv)) is not None:
        return code
    cuda = accelerator.wanted() or asked.device == "cuda"
    with joined(cuda=cuda, job=launch.job(os.environ)) as group:
        before, done = before_restart(group, asked)
        run = before or run
        if not run or not done:
            run = train(asked.alone(), run=run, checkpoint_seconds=asked.checkpoint_seconds, group=group)
        if group.leads:
            print(f"{run.directory}: done, test accuracy {run.receipt['test_accuracy']:.2%}", flush=True)
    return None


def before_restart(group: Group, asked: Settings) -> tuple[Run | None, bool]:
    """The run that this job began before it was started again, and whether it is done; None for the first time."""
    found = Run.of_job(RUNS, group.job) if group.job and group.leads else None
    done = bool(found and found.receipt["state"] == "done" and found.settings().epochs == asked.epochs)
    if found and (name := launch.job(os.environ)):
        print(f"JOB={name}: its run is {found.directory}; for a new run give another name, or unset JOB", flush=True)
    directory, done = group.tell([str(found.directory) if found else "", done])
    return found or (Run(Path(directory), {}, leads=False) if directory else None), done


if __name__ == "__main__":
    command.run(main)
