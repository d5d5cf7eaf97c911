"""Train a network on a data set, the same to the bit wherever it runs, in one go or in many.

python -m samebench.training.train --epochs 1 --seed 3
python -m samebench.training.train --resume latest
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

from samebench import project
from samebench.core import command, files, flags, signals
from samebench.core.command import Interrupted, RequirementError, UsageError
from samebench.core.text import printable
from samebench.environment import accelerator, cores, determinism, drift
from samebench.runs import metrics, receipt, records, train_command
from samebench.runs.run import RUNS, Run, now
from samebench.settings import TrainingSettings, TrainOptions, small_batch_args
from samebench.training import checkpoint, initial, launch, promise
from samebench.training.checkpoint import Checkpoint
from samebench.training.initial import InitialModel
from samebench.training.loop import Training, lr_factor_at, precision
from samebench.training.model import architecture
from samebench.training.process_group import SINGLE_PROCESS, PeerLostError, ProcessGroup, join_process_group
from samebench.training.shards import worker_layout, workers
from samebench.training.task import DataModule, Task

LENGTH = {"settings.epochs"}  # what may change when a run is resumed
PLACES = {"settings.data", *initial.PLACES}  # where the data lies is no input; its version is


def train(
    settings: TrainingSettings,
    *,
    run: Run | None = None,
    runs: Path = RUNS,
    threads: int | None = None,
    checkpoint_seconds: float = math.inf,
    group: ProcessGroup = SINGLE_PROCESS,
    reproduces: str = "",
) -> Run:
    """Train as `settings` say and leave a run in `runs`, or resume `run` from its newest whole checkpoint.

    A new run that `reproduces` another one, by its name, has that in its receipt: no command takes it unasked. Neither
    the number of threads, nor on a CPU that of processes, nor checkpoints and interruptions change what comes out.
    Raises UsageError or RequirementError before any work where something is wrong, Interrupted on Ctrl-C or SIGTERM.
    """
    task = project.task()
    determinism.pin(fast=settings.fast)
    device = accelerator.choose(settings.device, number=group.local_rank)
    check_batch_divisible(settings, device, group)
    begun = group.broadcast_json(run.receipt if run else {})
    with group.one_on_each_machine_first():
        data = load_data(task, settings)
        start, told = initial.resolve_init_model(settings, begun, data)
    count, each = worker_layout(
        settings.shards,
        fast=settings.fast,
        cores=threads or max(1, cores.available_cpus() // group.local_size),
        group=group,
    )
    facts = {
        "project": project.name(),
        "settings": flags.to_dict(settings),
        "data_version": data.version,
        "device": device.type,
        "precision": precision(device, fast=settings.fast),
        "threads": count * each,
        **accelerator.facts(device),
        "processes": {"count": group.size, "machines": group.nnodes},
        **({"job": group.job} if group.job else {}),
        **({"init": told} if told else {}),
        **receipt.inputs(),
    }
    mark = {"reproduces": reproduces} if reproduces else {}
    check_ranks_agree(facts, group)
    for line in receipt.notices() if group.is_rank_zero else []:
        print(line, file=sys.stderr, flush=True)
    if group.is_rank_zero and data.warning:
        print(f"warning: {data.warning}", file=sys.stderr, flush=True)
    if group.is_rank_zero:
        facts["fingerprint"] = examine_environment()
    resumed = run is not None
    run, kept = load_for_resume(run, facts, group) if run else (create_run(runs, facts | mark, group), None)
    with release_at_end(run), signals.interruptible() as stopped, workers(count, cores=each) as pool:
        with record_outcome(run, group):  # on a GPU it needs room
            training = Training(
                settings,
                task,
                data,
                run=run,
                pool=pool,
                device=device,
                checkpoint_seconds=checkpoint_seconds,
                group=group,
            )
        if kept:
            training.restore(kept)
        elif told:
            with group.one_on_each_machine_first():
                start = start or initial.reload_init_model(settings.init, told)
            training.load_pretrained(start.model)
        with record_outcome(run, group):
            if resumed and group.is_rank_zero:
                record_resume(run, kept, facts)
                if kept:
                    print(schedule_change(run, kept, settings, training.steps), end="", flush=True)
            if group.is_rank_zero:
                promise.record(training)
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


def check_batch_divisible(settings: TrainingSettings, device: torch.device, group: ProcessGroup) -> None:
    """Raise UsageError, said by the leader, where a batch can't be dealt out to so many processes."""
    said = ""
    if device.type == "cuda" or (settings.fast and group.size > 1):
        if settings.batch_size % group.size:
            said = f"setting batch_size={settings.batch_size} can't be dealt out; take a multiple of {group.size}"
    elif group.size > settings.shards:
        said = f"there are only {settings.shards} shards to work on; take fewer processes, or --shards {group.size}"
    if said:
        group.barrier()  # who left while others still come in would be said to be lost
        raise UsageError(f"{group.size} processes: {said}" if group.is_rank_zero else "")


def check_ranks_agree(facts: Mapping[str, Any], group: ProcessGroup) -> None:
    """Raise UsageError where the leader would train something else than this process, naming each fact that differs."""
    if group.size == 1:
        return
    theirs = group.broadcast_json(facts)
    differing = receipt.diff(theirs, facts, exclude=PLACES, labels=("for process 0", f"for process {group.rank}"))
    (somewhere,) = group.any_rank(bool(differing))
    if differing:
        remedy = "give every machine the same checkout and the same words"
        raise UsageError(f"{platform.node()}: {'; '.join(differing)}; {remedy}")
    if somewhere:
        # As the one that differs does: code 4 of another machine would have a cluster start it all again.
        raise UsageError("" if group.local_rank else f"{platform.node()}: another process has other inputs")


def load_data(task: Task, settings: TrainingSettings) -> DataModule:
    """The data that the settings name. Raises UsageError where it is too little for a batch."""
    data = task.load_data(settings.data)
    if (most := len(data.training)) < settings.batch_size:
        remedy = f"there are {most} training examples; take {small_batch_args(most)}"
        raise UsageError(f"setting batch_size={settings.batch_size} is impossible; {remedy}")
    return data


@contextmanager
def release_at_end(run: Run) -> Iterator[None]:
    """Let others work on the run in the end."""
    try:
        yield
    finally:
        run.release()


@contextmanager
def record_outcome(run: Run, group: ProcessGroup = SINGLE_PROCESS) -> Iterator[None]:
    """Put an end before the last epoch into the receipt, and tell how to resume after an interruption."""
    try:
        yield
    except Interrupted as interrupted:
        run.record(state="interrupted")
        parted = isinstance(interrupted, PeerLostError)  # then one on each machine says so: the leader may be gone
        speaks = not group.local_rank if parted else group.is_rank_zero
        where = f"{run.directory}: " if parted else ""
        raise Interrupted(f"{where}{interrupted}; resume with: {resume_command(run)}" if speaks else "") from None
    except BrokenPipeError:
        # Nobody reads our lines any more, as when the sweep that started us was killed; or a mistake of ours.
        run.record(state="interrupted" if command.is_stdout_closed() else "failed")
        raise
    except BaseException as error:
        if reason := accelerator.describe_out_of_memory(error):
            run.fail()
            raise RequirementError(f"{run.directory}: {reason}; {smaller_batch(run)}") from error
        if reason := accelerator.describe_gpu_error(error):
            run.record(state="interrupted")
            kept = checkpoint.newest_path(run) or "no checkpoint yet"
            raise RequirementError(f"{run.directory}: {reason}; {kept}; resume with: {resume_command(run)}") from error
        if reason := command.describe_os_error(error):
            run.fail(state="interrupted")
            raise RequirementError(f"{reason}; resume with: {resume_command(run)}") from error
        run.fail()
        raise


def smaller_batch(run: Run) -> str:
    """The remedy for a batch that is too large for the GPU; a resume with a smaller one is refused."""
    settings = run.settings()
    half = settings.batch_size // 2 // settings.shards * settings.shards
    smaller = f'start a new run with ARGS="--batch-size {half}", or ' if half >= 2 * settings.shards else ""
    return (
        f"batch_size={settings.batch_size} is too large for it; {smaller}resume on a larger GPU: {resume_command(run)}"
    )


def resume_command(run: Run) -> str:
    """The command that goes on with it, as it is copied into a shell."""
    return run.resume_command()


def create_run(runs: Path, facts: Mapping[str, Any], group: ProcessGroup) -> Run:
    """A new run, which the leader makes."""
    run = Run.start(runs, uncommitted=receipt.uncommitted(), **facts) if group.is_rank_zero else None
    directory = group.broadcast_json(str(run and run.directory))
    return run or Run.follow(Path(directory))


def load_for_resume(run: Run, facts: Mapping[str, Any], group: ProcessGroup) -> tuple[Run, Checkpoint | None]:
    """Hold `run` and load its newest whole checkpoint, None where it had not come to its first.

    Every process reads and verifies it for itself. Raises UsageError where the run is done, in progress, or would
    resume with other settings or data than it has.
    """
    kept = acquire_run(run, facts) if group.is_rank_zero else None
    directory, step = group.broadcast_json([str(run.directory), kept and kept.step])
    if group.is_rank_zero:
        return run, kept
    run = Run.follow(Path(directory))
    kept = None if step is None else checkpoint.load_newest(run)
    if (kept and kept.step) != step:
        raise UsageError(
            f"{directory}: stands at step {kept and kept.step} on {platform.node()}, at {step} for process 0"
        )
    return run, kept


def acquire_run(run: Run, facts: Mapping[str, Any]) -> Checkpoint | None:
    """Keep others out of `run`, and give its newest whole checkpoint.

    Raises UsageError as `check_resume_compatible` does.
    """
    alone = run.acquire()
    try:
        if alone:
            files.sweep(run.directory)
            records.sweep(run.directory.parent)
        kept = checkpoint.load_newest(run)
        check_resume_compatible(run, kept, facts)
    except BaseException:
        run.release()
        raise
    return kept


def record_resume(run: Run, kept: Checkpoint | None, facts: Mapping[str, Any]) -> None:
    """Tell where the run goes on and what has changed since it began, and put both into the receipt."""
    changed = receipt.diff(run.receipt, facts, exclude=PLACES)
    code_changed = any(line.startswith("code.") for line in changed)
    step = kept.step if kept else 0
    print("\n  changed since it began: ".join([f"{run.directory}: resumes after step {step}", *changed]), flush=True)
    entry = {"at": now(), "step": step, "changed": changed, "commit": facts["code"]["commit"]}
    uncommitted = receipt.uncommitted() if code_changed else b""
    new = {name: facts[name] for name in ("settings", "processes", "job") if name in facts}
    run.resume(entry, uncommitted=uncommitted, history=kept.history if kept else [], **new)


def schedule_change(run: Run, kept: Checkpoint, settings: TrainingSettings, steps: int) -> str:
    """A line about the learning rate where a run resumes with other epochs of so many `steps`; otherwise nothing.

    The rate is a function of the share of all steps that are done, so that other epochs change it at once.
    """
    before = int(kept.settings["epochs"])
    if before == settings.epochs or not kept.step:
        return ""
    old = settings.lr * lr_factor_at(project.task(), kept.step - 1, steps * before)
    new = settings.lr * lr_factor_at(project.task(), kept.step, steps * settings.epochs)
    said = f"  learning rate: {old:.4g} after step {kept.step} of epochs={before}, {new:.4g} now with {settings.epochs}"
    if new <= old:
        return f"{said}\n"
    left = replace(settings, init="", epochs=max(1, settings.epochs - before), lr=float(f"{settings.lr / 10:.2g}"))
    words = train_command.make_start_command(run.receipt, flags.to_dict(left), init=run.weights)
    return f"{said}: a jump; a new run from its best weights has none: {words}\n"


def check_resume_compatible(run: Run, kept: Checkpoint | None, facts: Mapping[str, Any]) -> None:
    """Raise UsageError where `run`, which stands at `kept`, can't resume with these facts, naming each that differs."""
    asked = {name: facts.get(name) for name in ("settings", "data_version", "device", "init")}
    before = kept.metadata() if kept else run.receipt
    if contradictions := receipt.diff(before, asked, fields=asked, exclude=LENGTH | PLACES):
        remedy = "leave them as they were" if contradictions[1:] else "leave it as it was"
        raise UsageError(f"{run.directory}: {'; '.join(contradictions)}; {remedy}, or start a new run")
    if kept and not all(then == now for then, now in zip(kept.history, run.receipt.get("history", []), strict=False)):
        said = "its newest checkpoint has other figures than its receipt"
        raise UsageError(f"{run.directory}: {said}; take the run from where it was trained")
    epochs, done = facts["settings"]["epochs"], len(kept.history) if kept else 0
    if epochs < done:
        raise UsageError(f"{run.directory}: epochs={epochs} is impossible, {done} are done; give {done} or more")
    if epochs == done and run.receipt.get("state") == "done":
        left = [each for each in records.ordinary(records.find(run.directory.parent)) if each.state == "interrupted"]
        other = "start a new run"
        if left:
            resumed = train_command.make_resume_command(left[0].directory, left[0].receipt)
            other = f"finish the one that was interrupted: {resumed}"
        raise UsageError(
            f'{run.directory}: done, all {done} epochs; give more, such as ARGS="--epochs {2 * done}", or {other}'
        )


def parse_args(argv: Sequence[str]) -> tuple[TrainingSettings, TrainOptions, Run | None]:
    """The settings and options in the flags, and the run to resume, whose settings then are the flags' defaults.

    Where they name a model to start from, its network is the default.
    """
    kinds = (project.settings_class(), TrainOptions)
    parse = partial(
        flags.parse_all, kinds, argv, program="python -m samebench.training.train", about="Train on a data set."
    )
    settings, options = parse()
    run = None
    if options.resume:
        run = Run.newest(RUNS) if options.resume == "latest" else Run.open(records.folder(options.resume))
        settings, options = parse(defaults=asdict(run.settings()))
    elif settings.init:
        settings, options = parse(defaults=architecture(InitialModel.load(settings.init).model.settings))
    return settings, options, run


def main(argv: Sequence[str]) -> int | None:
    """Parse, pin, train, tell where the run is; in as many processes as are asked for."""
    settings, options, run = parse_args(argv)
    determinism.reexecute(fast=settings.fast)
    if accelerator.gpu_requested():
        accelerator.require()
    if (code := launch.torchrun("samebench.training.train", argv)) is not None:
        return code
    cuda = accelerator.gpu_requested() or settings.device == "cuda"
    with join_process_group(cuda=cuda, job=launch.job(os.environ)) as group:
        job_run, is_done = find_run_of_job(group, settings.epochs)
        run = job_run or run
        if not run or not is_done:
            run = train(settings, run=run, checkpoint_seconds=options.checkpoint_seconds, group=group)
        if group.is_rank_zero:
            name = metrics.of_receipt(run.receipt)[0].name
            print(f"{run.directory}: done, test {name} {metrics.show(f'test_{name}', run.receipt)}", flush=True)
    return None


def find_run_of_job(group: ProcessGroup, epochs: int) -> tuple[Run | None, bool]:
    """The run of this job before its restart, or None; and whether it is done with so many `epochs`."""
    run = Run.of_job(RUNS, group.job) if group.job and group.is_rank_zero else None
    is_done = bool(run and run.receipt["state"] == "done" and run.settings().epochs == epochs)
    if run and (name := launch.job(os.environ)):
        print(f"JOB={name}: its run is {run.directory}; for a new run give another name, or unset JOB", flush=True)
    directory, is_done = group.broadcast_json([str(run.directory) if run else "", is_done])
    return run or (Run(Path(directory), {}, leads=False) if directory else None), is_done


if __name__ == "__main__":
    command.run(main)
