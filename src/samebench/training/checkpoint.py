"""Checkpoints: the state from which a training resumes and gives the same weights as without an interruption.

It has no state of random generators: every random number is a function of (seed, epoch, index).
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
CHECKPOINTS_TO_KEEP = 2  # the last and the one before: each has the best weights, too


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The state of a training after a step."""

    tensors: dict[str, Tensor]  # weights, best weights, the optimizer's and the shards' state, losses of this epoch
    step: int  # steps done since the first epoch
    settings: dict[str, Any]
    data_version: str
    device: str
    history: list[dict[str, float]]  # the figures of each epoch that is done
    seconds: float  # spent so far
    init: dict[str, Any] | None = None  # the model it started from, as in the receipt

    def metadata(self) -> dict[str, Any]:
        """All fields but the tensors, as JSON."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "tensors"}


def save(run: Run, checkpoint: Checkpoint) -> None:
    """Write the checkpoint into the run, then delete all but the CHECKPOINTS_TO_KEEP newest.

    Raises OSError naming the file and the bytes needed; the older checkpoints are then untouched.
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
    """The run's newest whole checkpoint; None if it has saved none. Damaged ones are printed and renamed.

    Raises UsageError if all are damaged: the user decides whether to start again.
    """
    damaged: list[Path] = []
    for path in _newest_first(run):
        try:
            checkpoint = _load(path, run)
        except UsageError as refusal:
            print(f"{refusal}; trying the one before", flush=True)
            damaged.append(path)
            continue
        for damaged_path in damaged:
            damaged_path.rename(damaged_path.with_suffix(".damaged"))
        return checkpoint
    if damaged:
        raise UsageError(f"{run.checkpoints}: no checkpoint in it is whole; start a new run")
    return None


def newest_path(run: Run) -> Path | None:
    """The path of the run's newest checkpoint, which may be damaged; None if it has saved none."""
    return next(iter(_newest_first(run)), None)


def _load(path: Path, run: Run) -> Checkpoint:
    tensors, metadata = checked_safetensors.load(path, "checkpoint")
    if metadata.get("run") != run.name:
        raise UsageError(f"{path}: of run {printable(metadata.get('run'), longest=80)}, not of {run.name}")
    try:
        _check_figures(metadata["history"], tensors.get("losses"))
        return Checkpoint(
            tensors=tensors,
            step=int(metadata["step"]),
            settings=dict(metadata["settings"]),
            data_version=str(metadata["data_version"]),
            device=str(metadata["device"]),
            history=[{str(name): float(value) for name, value in figures.items()} for figures in metadata["history"]],
            seconds=float(metadata["seconds"]),
            init=dict(metadata["init"]) if metadata.get("init") else None,
        )
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path}: a checkpoint of other code ({error})") from error


def _check_figures(history: Sequence[Mapping[str, float]], losses: Tensor | None) -> None:
    """Raise ValueError if an epoch lacks one of its figures, or the losses are no list of numbers."""
    if not all(figures.keys() >= FIGURES for figures in history) or (losses is not None and losses.ndim != 1):
        raise ValueError("the figures of an epoch are not whole")


def _newest_first(run: Run) -> list[Path]:
    return sorted(run.checkpoints.glob("step-*.safetensors"), reverse=True)
