"""Checkpoints: everything that training needs to go on as if nothing had happened.

Random generators are not among it: every random number here is a function of (seed, epoch, index).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import checked_safetensors
from samebench.runs.run import Run

FIGURES = {"train_loss", "seconds"}  # of each epoch, beside the metrics
CHECKPOINTS_TO_KEEP = 2  # the last and the one before; the best weights are in each of them, and in the run's model


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a training stood, and all that decides how it goes on."""

    tensors: dict[str, Tensor]  # weights, best weights, the optimizer's and the shards' state, losses of this epoch
    step: int  # steps done since the first epoch
    settings: dict[str, Any]
    data_version: str
    device: str
    history: list[dict[str, float]]  # the figures of each epoch that is done
    seconds: float  # spent so far
    init: dict[str, Any] | None = None  # the model it started from, as the receipt tells of it

    def metadata(self) -> dict[str, Any]:
        """All but the tensors, as JSON tells it."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "tensors"}


def save(run: Run, checkpoint: Checkpoint) -> None:
    """Put the checkpoint into the run; those older than the one before it go once it is safely there.

    Raises OSError naming the file and the bytes needed; what was there before is then untouched.
    """
    run.check_is_ours()
    run.checkpoints.mkdir(exist_ok=True)
    path = run.checkpoints / f"step-{checkpoint.step:08}.safetensors"
    metadata = {"run": run.name, **checkpoint.metadata()}
    checked_safetensors.write(path, "checkpoint", checkpoint.tensors, metadata)
    for old in _newest_first(run)[CHECKPOINTS_TO_KEEP:]:
        old.with_suffix(".json").unlink(missing_ok=True)
        old.unlink()


def load_newest(run: Run) -> Checkpoint | None:
    """The run's newest whole checkpoint; None where it has never saved one. Damaged ones are named and set aside.

    Raises UsageError where all are damaged: a fresh start must be the user's own wish.
    """
    damaged: list[Path] = []
    for path in _newest_first(run):
        try:
            checkpoint = _load(path, run)
        except UsageError as refusal:
            print(f"{refusal}; trying the one before", flush=True)
            damaged.append(path)
            continue
        for each in damaged:
            each.rename(each.with_suffix(".damaged"))
        return checkpoint
    if damaged:
        raise UsageError(f"{run.checkpoints}: no checkpoint in it is whole; start a new run")
    return None


def newest_path(run: Run) -> Path | None:
    """Where the run's newest checkpoint lies, whole or not; None where it has never saved one."""
    return next(iter(_newest_first(run)), None)


def _load(path: Path, run: Run) -> Checkpoint:
    tensors, facts = checked_safetensors.load(path, "checkpoint")
    if facts.get("run") != run.name:
        raise UsageError(f"{path}: of run {printable(facts.get('run'), longest=80)}, not of {run.name}")
    try:
        _check_figures(facts["history"], tensors.get("losses"))
        return Checkpoint(
            tensors=tensors,
            step=int(facts["step"]),
            settings=dict(facts["settings"]),
            data_version=str(facts["data_version"]),
            device=str(facts["device"]),
            history=[{str(name): float(value) for name, value in each.items()} for each in facts["history"]],
            seconds=float(facts["seconds"]),
            init=dict(facts["init"]) if facts.get("init") else None,
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path}: a checkpoint of other code ({error})") from error


def _check_figures(history: Sequence[Mapping[str, float]], losses: Tensor | None) -> None:
    """Raise ValueError where an epoch lacks one of its figures, or the losses are no list of numbers."""
    if not all(each.keys() >= FIGURES for each in history) or (losses is not None and losses.ndim != 1):
        raise ValueError("the figures of an epoch are not whole")


def _newest_first(run: Run) -> list[Path]:
    return sorted(run.checkpoints.glob("step-*.safetensors"), reverse=True)
