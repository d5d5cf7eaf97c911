"""The model that a training starts from. Its weights come with the statistics of the data it was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from samebench.core.command import UsageError
from samebench.data import checked_safetensors
from samebench.runs import receipt, records
from samebench.runs.run import Run
from samebench.settings import TrainingSettings, require
from samebench.training.foreign_weights import ForeignWeights, refuse_pickle
from samebench.training.model import Model, architecture
from samebench.training.task import DataModule, Task

# The path of the model and the name of its run are no inputs; its weights and its spec are.
PLACES = {"settings.init", "init.run"}


@dataclass(frozen=True)
class InitialModel:
    """A model to start from."""

    source: str  # the setting `init`
    model: Model
    run: str  # the name of its run; empty for a model's file outside of a run

    @classmethod
    def load(cls, source: str) -> Self:
        """The model that the setting `init` names: that of a run that is done, or a model's file.

        Raises UsageError for anything else, and for a damaged model before it is parsed.
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
        """The `init` of a receipt."""
        run = {"run": self.run} if self.run else {}
        return {**run, "weights_sha256": self.model.digest(), "spec": dict(self.model.spec)}

    @property
    def architecture(self) -> Mapping[str, Any]:
        """The settings that say which network it is."""
        return architecture(self.model.settings)

    def fit(self, settings: TrainingSettings, task: Task, data: DataModule) -> dict[str, Any]:
        """No more for the `init`. Raises UsageError if the settings are of a different network, or the data misfits."""
        for name in ("init_names", "init_statistics"):
            require(settings, not getattr(settings, name), name, "it is for files of others; this model has its own")
        try:
            task.check_initial(settings, data.spec, self.model.settings, self.model.spec)
        except UsageError as error:
            raise UsageError(f"{self.source}: {error}") from error
        return {}

    def load_into(self, model: Model) -> str:
        """Copy its weights into the network of `model`; what was done, in words."""
        return model.task.load_pretrained(model.network, model.spec, self.model.network, self.model.spec)


def load(source: str) -> InitialModel | ForeignWeights:
    """What the setting `init` names: a run, a model's file, or a safetensors file of others.

    Raises UsageError as both do.
    """
    path = records.folder(source)
    refuse_pickle(source, path)
    if path.suffix == ".safetensors" and path.is_file() and not checked_safetensors.is_checked(path):
        return ForeignWeights.load(source, path)
    return InitialModel.load(source)


def resolve_init_model(
    settings: TrainingSettings, task: Task, old_receipt: Mapping[str, Any], data: DataModule
) -> tuple[InitialModel | ForeignWeights | None, dict[str, Any] | None]:
    """The model to start from and the `init` of the receipt; None and None if the settings name no model.

    `old_receipt` is that of a run to resume, or empty. If it names the same model, its `init` counts, and the model is
    not loaded. Raises UsageError as `InitialModel` does.
    """
    if old_receipt and old_receipt.get("settings", {}).get("init", "") == settings.init:
        return None, old_receipt.get("init")
    if not settings.init:
        return None, None
    initial_model = load(settings.init)
    return initial_model, {**initial_model.to_dict(), **initial_model.fit(settings, task, data)}


def reload_init_model(source: str, init: Mapping[str, Any]) -> InitialModel | ForeignWeights:
    """The model at `source`. Raises UsageError if it is gone, or is not the one of a receipt's `init`."""
    remedy = f"wanted is the model of weights {init['weights_sha256'][:12]}, from anywhere: INIT=<path>"
    try:
        initial_model = load(source)
    except UsageError as refusal:
        raise UsageError(f"{refusal}; {remedy}") from refusal
    new = initial_model.to_dict()
    fields = [f"init.{name}" for name in init if name in new]  # a receipt of the first edition has other names
    if differences := receipt.diff({"init": init}, {"init": new}, fields=fields, exclude=PLACES):
        raise UsageError(f"{source}: {'; '.join(differences)}; {remedy}")
    return initial_model


def _refuse_undone(run: Run) -> None:
    """Raise UsageError if the weights of `run` are not final."""
    if (state := run.receipt.get("state")) != "done":
        remedy = f"finish it: {run.resume_command()}, or take its best so far: INIT={run.weights}"
        raise UsageError(f"{run.directory}: {state}, and its weights may still change; {remedy}")
