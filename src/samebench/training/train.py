"""Train a network on a data set, the same to the bit wherever it runs, in one go or in many."""

import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from samebench import project
from samebench.core import command, files, flags, signals
from samebench.core.command import Interrupted, RequirementError, UsageError
from samebench.core.text import printable
from samebench.environment import accelerator, cores, determinism, drift
from samebench.runs import receipt, records, train_command
from samebench.runs.run import RUNS, Run, now
from samebench.settings import TrainingSettings, small_batch_args
from samebench.training import initial_models, launch, same_bits
from samebench.training.checkpoint import Checkpoint, load_newest, newest_path
from samebench.training.loop import Training, lr_factor_at, precision
from samebench.training.model import build_network
from samebench.training.process_group import SINGLE_PROCESS, PeerLostError, ProcessGroup
from samebench.training.shards import worker_layout, workers
from samebench.training.task import DataModule, Task

CHANGEABLE = {"settings.epochs"}  # a resumed run may have a new value
PLACES = {"settings.data", *initial_models.PLACES}  # the path of the data is no input; its version is


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
    """Train with `settings` and return a new run in `runs`, or resume `run` from its newest whole checkpoint.

    `reproduces` is the name of the run that a new one repeats: no command takes such a run by default. The result does
    not depend on the number of threads, checkpoints or interruptions, nor, on a CPU, on the number of processes.
    Raises UsageError or RequirementError before it trains, and Interrupted on Ctrl-C or SIGTERM.
    """
    task = project.task()
    determinism.pin(fast=settings.fast)
    device = accelerator.choose(settings.device, number=group.local_rank)
    check_batch_divisible(settings, device, group)
    old_receipt = group.broadcast_json(run.receipt if run else {})
    with group.one_on_each_machine_first():
        data = load_data(task, settings)
        if settings.freeze:  # it refuses names that the network has not, before there is a run
            build_network(task, settings, data.spec)
        initial_model, init = initial_models.resolve_init_model(settings, task, old_receipt, data)
    local_cores = threads or max(1, cores.available_cpus() // group.local_size)
    worker_count, worker_cores = worker_layout(settings.shards, fast=settings.fast, cores=local_cores, group=group)
    inputs = {
        "project": project.name(),
        "settings": flags.to_dict(settings),
        "data_version": data.version,
        "device": device.type,
        "precision": precision(device, fast=settings.fast),
        "threads": worker_count * worker_cores,
        **accelerator.facts(device),
        "processes": {"count": group.size, "machines": group.nnodes},
        **({"job": group.job} if group.job else {}),
        **({"init": init} if init else {}),
        **receipt.inputs(),
    }
    check_ranks_agree(inputs, group)
    if group.is_rank_zero:
        for line in [*receipt.notices(), *([f"warning: {data.warning}"] if data.warning else [])]:
            print(line, file=sys.stderr, flush=True)
        inputs["fingerprint"] = examine_environment()
    checkpoint = None
    if is_resumed := run is not None:
        run, checkpoint = load_for_resume(run, inputs, group)
    else:
        run = create_run(runs, inputs | ({"reproduces": reproduces} if reproduces else {}), group)
    with release_at_end(run), signals.interruptible() as stopped, workers(worker_count, cores=worker_cores) as pool:
        with record_outcome(run, group):  # a GPU may have too little memory for it
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
        if checkpoint:
            training.restore(checkpoint)
        elif init:
            with group.one_on_each_machine_first():
                initial_model = initial_model or initial_models.reload_init_model(settings.init, init)
            training.load_pretrained(initial_model)
        with record_outcome(run, group):
            if is_resumed and group.is_rank_zero:
                record_resume(run, checkpoint, inputs)
                if checkpoint:
                    print(schedule_change(run, checkpoint, settings, training.steps), end="", flush=True)
            if group.is_rank_zero:
                same_bits.record(training)
            training.fit(stopped)
    return run


def examine_environment() -> dict[str, Any] | None:
    """The receipt's `fingerprint`. Prints a line for each difference from the locks and the image."""
    fingerprint = drift.examine()
    if fingerprint is None:
        print(
            "drift: the installed files can't be read, so the receipt has no fingerprint; make doctor", file=sys.stderr
        )
    for line in fingerprint["drift"] if fingerprint else []:
        print(f"drift: {printable(line)}; make doctor says what mends it", file=sys.stderr, flush=True)
    return fingerprint


def check_batch_divisible(settings: TrainingSettings, device: torch.device, group: ProcessGroup) -> None:
    """Raise UsageError if so many processes can't share a batch. Only rank 0 has the message."""
    problem = ""
    if device.type == "cuda" or (settings.fast and group.size > 1):
        if settings.batch_size % group.size:
            problem = f"setting batch_size={settings.batch_size} can't be dealt out; take a multiple of {group.size}"
    elif group.size > settings.shards:
        problem = f"there are only {settings.shards} shards to work on; take fewer processes, or --shards {group.size}"
    if problem:
        group.barrier()  # a process that ends before all have joined would be reported as lost
        raise UsageError(f"{group.size} processes: {problem}" if group.is_rank_zero else "")


def check_ranks_agree(inputs: Mapping[str, Any], group: ProcessGroup) -> None:
    """Raise UsageError, naming each difference, if the inputs of this process are not those of rank 0."""
    if group.size == 1:
        return
    labels = ("for process 0", f"for process {group.rank}")
    differences = receipt.diff(group.broadcast_json(inputs), inputs, exclude=PLACES, labels=labels)
    (any_differs,) = group.any_rank(bool(differences))
    if differences:
        remedy = "give every machine the same checkout and the same words"
        raise UsageError(f"{platform.node()}: {'; '.join(differences)}; {remedy}")
    if any_differs:
        # The same exit code as the process that differs: after a 4 a cluster would start the job again.
        raise UsageError("" if group.local_rank else f"{platform.node()}: another process has other inputs")


def load_data(task: Task, settings: TrainingSettings) -> DataModule:
    """The data set of the settings. Raises UsageError if it has too few examples for a batch."""
    data = task.load_data(settings.data)
    if (count := len(data.training)) < settings.batch_size:
        remedy = f"there are {count} training examples; take {small_batch_args(count)}"
        raise UsageError(f"setting batch_size={settings.batch_size} is impossible; {remedy}")
    return data


@contextmanager
def release_at_end(run: Run) -> Iterator[None]:
    """Release the run at the end."""
    try:
        yield
    finally:
        run.release()


@contextmanager
def record_outcome(run: Run, group: ProcessGroup = SINGLE_PROCESS) -> Iterator[None]:
    """Record an end before the last epoch in the receipt, and add the command that resumes to the error."""
    try:
        yield
    except Interrupted as interrupted:
        run.record(state="interrupted")
        lost_peer = isinstance(interrupted, PeerLostError)  # rank 0 may be lost, so one process a machine prints it
        prints = not group.local_rank if lost_peer else group.is_rank_zero
        where = f"{run.directory}: " if lost_peer else ""
        raise Interrupted(f"{where}{interrupted}; resume with: {run.resume_command()}" if prints else "") from None
    except BrokenPipeError:
        # The reader of our output has ended, such as the sweep that started us; otherwise it is a mistake of ours.
        run.record(state="interrupted" if command.is_stdout_closed() else "failed")
        raise
    except BaseException as error:
        if reason := accelerator.describe_out_of_memory(error):
            run.fail()
            raise RequirementError(f"{run.directory}: {reason}; {smaller_batch(run)}") from error
        if reason := accelerator.describe_gpu_error(error):
            run.record(state="interrupted")
            path = newest_path(run) or "no checkpoint yet"
            message = f"{run.directory}: {reason}; {path}; resume with: {run.resume_command()}"
            raise RequirementError(message) from error
        if reason := command.describe_os_error(error):
            run.fail(state="interrupted")
            raise RequirementError(f"{reason}; resume with: {run.resume_command()}") from error
        run.fail()
        raise


def smaller_batch(run: Run) -> str:
    """The remedy for a batch that is too large for the GPU. A run can't resume with a smaller one."""
    settings = run.read_settings()
    half = settings.batch_size // 2 // settings.shards * settings.shards
    smaller = f'start a new run with ARGS="--batch-size {half}", or ' if half >= 2 * settings.shards else ""
    larger = f"resume on a larger GPU: {run.resume_command()}"
    return f"batch_size={settings.batch_size} is too large for it; {smaller}{larger}"


def create_run(runs: Path, inputs: Mapping[str, Any], group: ProcessGroup) -> Run:
    """A new run. Rank 0 creates it, the others follow it."""
    run = Run.start(runs, uncommitted=receipt.uncommitted(), **inputs) if group.is_rank_zero else None
    directory = group.broadcast_json(str(run and run.directory))
    return run or Run.follow(Path(directory))


def load_for_resume(run: Run, inputs: Mapping[str, Any], group: ProcessGroup) -> tuple[Run, Checkpoint | None]:
    """Acquire `run` and load its newest whole checkpoint; None if it has saved none yet.

    Every process reads and verifies it. Raises UsageError if the run is done, in progress, or has other settings or
    data than `inputs`.
    """
    checkpoint = acquire_run(run, inputs) if group.is_rank_zero else None
    directory, step = group.broadcast_json([str(run.directory), checkpoint and checkpoint.step])
    if group.is_rank_zero:
        return run, checkpoint
    run = Run.follow(Path(directory))
    checkpoint = None if step is None else load_newest(run)
    if (step_here := checkpoint and checkpoint.step) != step:
        raise UsageError(f"{directory}: stands at step {step_here} on {platform.node()}, at {step} for process 0")
    return run, checkpoint


def acquire_run(run: Run, inputs: Mapping[str, Any]) -> Checkpoint | None:
    """Acquire `run`, and return its newest whole checkpoint. Raises UsageError as `check_resume_compatible` does."""
    is_exclusive = run.acquire()
    try:
        if is_exclusive:
            files.sweep(run.directory)
            records.sweep(run.directory.parent)
        checkpoint = load_newest(run)
        check_resume_compatible(run, checkpoint, inputs)
    except BaseException:
        run.release()
        raise
    return checkpoint


def record_resume(run: Run, checkpoint: Checkpoint | None, inputs: Mapping[str, Any]) -> None:
    """Print and record at which step the run resumes, and which of its inputs have changed."""
    changed = receipt.diff(run.receipt, inputs, exclude=PLACES)
    code_changed = any(line.startswith("code.") for line in changed)
    step = checkpoint.step if checkpoint else 0
    print("\n  changed since it began: ".join([f"{run.directory}: resumes after step {step}", *changed]), flush=True)
    entry = {"at": now(), "step": step, "changed": changed, "commit": inputs["code"]["commit"]}
    uncommitted = receipt.uncommitted() if code_changed else b""
    new = {name: inputs[name] for name in ("settings", "processes", "job") if name in inputs}
    run.resume(entry, uncommitted=uncommitted, history=checkpoint.history if checkpoint else [], **new)


def schedule_change(run: Run, checkpoint: Checkpoint, settings: TrainingSettings, steps: int) -> str:
    """A line about the learning rate if a run resumes with other epochs of so many `steps`; empty if not.

    The rate depends on the fraction of the steps that are done, so other epochs change it at once.
    """
    old_epochs, step = int(checkpoint.settings["epochs"]), checkpoint.step
    if old_epochs == settings.epochs or not step:
        return ""
    old = settings.lr * lr_factor_at(project.task(), step - 1, steps * old_epochs)
    new = settings.lr * lr_factor_at(project.task(), step, steps * settings.epochs)
    line = f"  learning rate: {old:.4g} after step {step} of epochs={old_epochs}, {new:.4g} now with {settings.epochs}"
    if new <= old:
        return f"{line}\n"
    epochs, lr = max(1, settings.epochs - old_epochs), float(f"{settings.lr / 10:.2g}")
    new_settings = flags.to_dict(replace(settings, init="", epochs=epochs, lr=lr))
    start_command = train_command.make_start_command(run.receipt, new_settings, init=run.weights)
    return f"{line}: a jump; a new run from its best weights has none: {start_command}\n"


def check_resume_compatible(run: Run, checkpoint: Checkpoint | None, inputs: Mapping[str, Any]) -> None:
    """Raise UsageError if `run` can't resume from `checkpoint` with `inputs`, naming each that differs."""
    new = {name: inputs.get(name) for name in ("settings", "data_version", "device", "init")}
    old = checkpoint.metadata() if checkpoint else run.receipt
    if differences := receipt.diff(old, new, fields=new, exclude=CHANGEABLE | PLACES):
        remedy = "leave them as they were" if differences[1:] else "leave it as it was"
        raise UsageError(f"{run.directory}: {'; '.join(differences)}; {remedy}, or start a new run")
    history = checkpoint.history if checkpoint else []
    if not all(one == other for one, other in zip(history, run.receipt.get("history", []), strict=False)):
        problem = "its newest checkpoint has other figures than its receipt"
        raise UsageError(f"{run.directory}: {problem}; take the run from where it was trained")
    epochs, epochs_done = inputs["settings"]["epochs"], len(history)
    if epochs < epochs_done:
        remedy = f"{epochs_done} are done; give {epochs_done} or more"
        raise UsageError(f"{run.directory}: epochs={epochs} is impossible, {remedy}")
    if epochs == epochs_done and run.receipt.get("state") == "done":
        runs = records.ordinary(records.find(run.directory.parent))
        alternative = "start a new run"
        if unfinished := next((record for record in runs if record.state == "interrupted"), None):
            resume_command = train_command.make_resume_command(unfinished.directory, unfinished.receipt)
            alternative = f"finish the one that was interrupted: {resume_command}"
        more = f'give more, such as ARGS="--epochs {2 * epochs}"'
        raise UsageError(f"{run.directory}: done, all {epochs} epochs; {more}, or {alternative}")


def find_run_of_job(group: ProcessGroup, epochs: int) -> tuple[Run | None, bool]:
    """The run of this job before its restart, or None; and whether it is done with so many `epochs`."""
    run = Run.of_job(RUNS, group.job) if group.job and group.is_rank_zero else None
    is_done = bool(run and run.receipt["state"] == "done" and run.read_settings().epochs == epochs)
    if run and (name := launch.job(os.environ)):
        print(f"JOB={name}: its run is {run.directory}; for a new run give another name, or unset JOB", flush=True)
    directory, is_done = group.broadcast_json([str(run.directory) if run else "", is_done])
    return run or (Run(Path(directory), {}, leads=False) if directory else None), is_done


if __name__ == "__main__":
    sys.exit("error: python -m samebench.training is the command")
