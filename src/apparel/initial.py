"""The model that a training starts from instead of fresh weights: the statistics it was trained with come along."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from apparel.model import Model
from apparel.settings import Settings
from samebench.core.command import UsageError
from samebench.runs import receipt, records
from samebench.runs.run import Run
from samebench.tasks.image_classification.image_data import Data

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
        facts = self.model.to_dict()
        return {
            **({"run": self.run} if self.run else {}),
            "weights_sha256": self.model.digest(),
            "labels": ", ".join(self.model.labels),
            **{name: facts[name] for name in ("mean", "deviation")},
        }

    def check(self, settings: Settings, known: Data) -> None:
        """Raise UsageError where the network that these settings train is another, or the data's images are."""
        name = self.model.name
        if name != settings.network:
            remedy = f"take --network {name}, or start from another model"
            raise UsageError(
                f"{self.source}: its network is {name}, and network={settings.network} is asked for; {remedy}"
            )
        own, theirs = (each.preparation.shape for each in (self.model, known))
        if own != theirs:
            said = f"it takes images of {_shape(own)}, the data's are {_shape(theirs)}"
            raise UsageError(f"{self.source}: {said}; start from another model")


def resolve_init_model(
    settings: Settings, begun: Mapping[str, Any], known: Data
) -> tuple[InitialModel | None, dict[str, Any] | None]:
    """The model to start from, and what a receipt tells of it; None and None where the settings name none.

    Where `begun`, the receipt of a run to resume, names the same, that tells of it, and it need not be there any more.
    Raises UsageError as `Initial` does.
    """
    if begun and begun.get("settings", {}).get("init", "") == settings.init:
        return None, begun.get("init")
    if not settings.init:
        return None, None
    initial = InitialModel.load(settings.init)
    initial.check(settings, known)
    return initial, initial.to_dict()


def reload_init_model(source: str, told: Mapping[str, Any]) -> InitialModel:
    """The model that a receipt has `told` of, once more. Raises UsageError where it is gone, or is another by now."""
    wanted = f"wanted is the model of weights {told['weights_sha256'][:12]}, from anywhere: INIT=<path>"
    try:
        initial = InitialModel.load(source)
    except UsageError as refusal:
        raise UsageError(f"{refusal}; {wanted}") from refusal
    if changed := receipt.diff({"init": told}, {"init": initial.to_dict()}, exclude=PLACES):
        raise UsageError(f"{source}: {'; '.join(changed)}; {wanted}")
    return initial


def _refuse_undone(run: Run) -> None:
    """Raise UsageError where the weights of `run` are not final."""
    if (state := run.receipt.get("state")) != "done":
        remedy = f"finish it: {run.resume_command()}, or take its best so far: INIT={run.weights}"
        raise UsageError(f"{run.directory}: {state}, and its weights may still change; {remedy}")


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
