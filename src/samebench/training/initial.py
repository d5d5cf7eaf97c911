"""The model that a training starts from instead of fresh weights: the statistics it was trained with come along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from samebench.core.command import UsageError
from samebench.runs import receipt, records
from samebench.runs.run import Run
from samebench.settings import TrainingSettings
from samebench.training.model import Model
from samebench.training.task import DataModule

# Where it lies is no input, nor of which run it is; its weights, labels and statistics are.
PLACES = {"settings.init", "init.run"}


@dataclass(frozen=True)
class InitialModel:
    """A model to start from, where it was found, and the run it is of, if it lies in one."""

    source: str
    model: Model
    run: str

    @classmethod
    def load(cls, source: str) -> Self:
        """What the setting `init` names: a run that is done, or a model's file.

        Raises UsageError for anything else, and for a model that is damaged, before anything in it is parsed.
        """
        path = records.folder(source)
        if path.suffix == ".onnx" or (path / "model.onnx").is_file():
            remedy = "give the run that it was made of, or that run's model.safetensors"
            raise UsageError(f"{source}: an artifact, in whose graph weights and normalisation are one; {remedy}")
        if path.is_dir():
            run = Run.open(path)
            _refuse_undone(run)
            return cls(source, Model.of_run(run), run.name)
        if path.name == Run(path.parent, {}).weights.name and (path.parent / "receipt.json").is_file():
            run = Run.open(path.parent)
            return cls(source, Model.of_run(run), run.name)
        return cls(source, Model.load(path), "")

    def to_dict(self) -> dict[str, Any]:
        """What a receipt tells of it."""
        run = {"run": self.run} if self.run else {}
        return {**run, "weights_sha256": self.model.digest(), "spec": dict(self.model.spec)}

    def check(self, settings: TrainingSettings, data: DataModule) -> None:
        """Raise UsageError where the network that these settings train is another, or the data does not fit."""
        try:
            self.model.task.check_initial(settings, data.spec, self.model.settings, self.model.spec)
        except UsageError as error:
            raise UsageError(f"{self.source}: {error}") from error


def resolve_init_model(
    settings: TrainingSettings, begun: Mapping[str, Any], data: DataModule
) -> tuple[InitialModel | None, dict[str, Any] | None]:
    """The model to start from, and what a receipt tells of it; None and None where the settings name none.

    Where `begun`, the receipt of a run to resume, names the same, that tells of it, and it need not be there any more.
    Raises UsageError as `InitialModel` does.
    """
    if begun and begun.get("settings", {}).get("init", "") == settings.init:
        return None, begun.get("init")
    if not settings.init:
        return None, None
    initial = InitialModel.load(settings.init)
    initial.check(settings, data)
    return initial, initial.to_dict()


def reload_init_model(source: str, told: Mapping[str, Any]) -> InitialModel:
    """The model of a receipt's `init`, loaded again. Raises UsageError where it is gone, or is another by now."""
    wanted = f"wanted is the model of weights {told['weights_sha256'][:12]}, from anywhere: INIT=<path>"
    try:
        initial = InitialModel.load(source)
    except UsageError as refusal:
        raise UsageError(f"{refusal}; {wanted}") from refusal
    now = initial.to_dict()
    both = [f"init.{name}" for name in told if name in now]  # a receipt of the first edition has other facts
    if changed := receipt.diff({"init": told}, {"init": now}, fields=both, exclude=PLACES):
        raise UsageError(f"{source}: {'; '.join(changed)}; {wanted}")
    return initial


def _refuse_undone(run: Run) -> None:
    """Raise UsageError where the weights of `run` are not final."""
    if (state := run.receipt.get("state")) != "done":
        remedy = f"finish it: {run.resume_command()}, or take its best so far: INIT={run.weights}"
        raise UsageError(f"{run.directory}: {state}, and its weights may still change; {remedy}")
