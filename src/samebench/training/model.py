"""A model: a network with the spec of the data that it was trained on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from samebench import project
from samebench.core import flags
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.data import checked_safetensors
from samebench.runs import receipt, run_files
from samebench.runs.run import Run
from samebench.settings import TrainingSettings
from samebench.training.freeze import freeze
from samebench.training.sample_random import key
from samebench.training.task import Batch, Dataset, Spec, Task
from samebench.training.tensor_dataset import map_batches

BATCH = 1000  # examples at a time, or fewer where they are large
BATCH_BYTES = 8 << 20  # of examples at a time, as the data set has them


def build_network(task: Task, settings: TrainingSettings, spec: Spec) -> nn.Module:
    """The network of these settings, its weights drawn from `settings.seed`; the global generator stays as it was.

    Raises UsageError for parameters to freeze that it does not have.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed=settings.seed, epoch=0, purpose="weights"))
        network = task.build_network(settings, spec)
    if settings.freeze:
        freeze(network, settings.freeze)
    return network


def batches_of(dataset: Dataset) -> tuple[Tensor, ...]:
    """The places of all examples of a data set, in batches of one size that memory has room for."""
    return _split(len(dataset), dataset.get_batch(torch.arange(1)))


def _split(count: int, examples: Batch) -> tuple[Tensor, ...]:
    each = sum(tensor.nbytes // max(1, len(tensor)) for tensor in examples.values())
    return torch.split(torch.arange(count), min(BATCH, max(1, BATCH_BYTES // max(1, each))))


@dataclass(frozen=True)
class Model:
    """A network that predicts from raw examples: it preprocesses them as in its training."""

    task: Task
    settings: TrainingSettings  # of its training: they say which network it is
    network: nn.Module
    spec: Spec

    def __post_init__(self) -> None:
        """Bind the network and its copies to the spec. Raises UsageError if it is bound to a different one."""
        bound = self.network.__dict__.setdefault("spec", self.spec)
        if bound != self.spec:
            lines = receipt.diff({"spec": bound}, {"spec": self.spec}, fields=["spec"])
            raise UsageError(f"a network can't have another spec than its own: {'; '.join(lines[:3])}")

    def predict(self, batch: Batch) -> dict[str, Tensor]:
        """The predictions (N, …) by name for raw examples (N, …)."""
        return self.task.postprocess(self.outputs(batch), self.spec)

    def predict_all(self, dataset: Dataset) -> dict[str, Tensor]:
        """The predictions (N, …) by name for all examples of a data set."""
        return map_batches(batches_of(dataset), lambda places: self.predict(dataset.get_batch(places)))

    def outputs_of(self, dataset: Dataset) -> Tensor:
        """The network's outputs (N, …) for all examples of a data set, a batch at a time, on the CPU."""
        results = map_batches(batches_of(dataset), lambda places: {"outputs": self._outputs(dataset.get_batch(places))})
        return results["outputs"]

    def outputs(self, batch: Batch) -> Tensor:
        """The network's outputs (N, …) for raw examples (N, …), a batch at a time, on the CPU."""
        parts = _split(len(next(iter(batch.values()))), batch)
        return torch.cat([self._outputs({name: tensor[part] for name, tensor in batch.items()}) for part in parts])

    @torch.inference_mode()
    def _outputs(self, batch: Batch) -> Tensor:
        self.network.eval()
        device = next(self.network.parameters()).device
        on_device = {name: tensor.to(device) for name, tensor in batch.items()}
        return self.network(*self.task.preprocess(on_device, self.spec)).float().cpu()  # type: ignore[no-any-return]

    def save(self, path: Path) -> None:
        """Write the weights and the metadata to `path`, and a JSON file with the metadata and the weights' hash."""
        tensors, sha256 = self.network.state_dict(), self.digest()
        checked_safetensors.write(path, "model", tensors, self.to_dict(), weights_sha256=sha256)

    @classmethod
    def load(cls, path: Path, task: Task | None = None) -> Self:
        """The model at `path`. Raises UsageError for a missing or damaged file before it is parsed."""
        task = task or project.task()
        weights, metadata = checked_safetensors.load(path, "model")
        try:
            _check_finite(weights)
            settings, spec = read_metadata(task, metadata)
            return cls(task, settings, _network_with(weights, task, settings, spec), spec)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"{path}: not a model of this code ({_first_line(error)}); train one with it") from error

    @classmethod
    def of_run(cls, run: Run, task: Task | None = None) -> Self:
        """The model of `run`. Raises UsageError if the run is done, and its receipt names a different model."""
        model = cls.load(run.weights, task)
        if run.receipt.get("state") != "done":
            return model
        if problem := run_files.find_uncommitted_problem(run.directory, run.receipt):
            raise UsageError(f"{run.directory}: {problem}; take the run from where it was trained")
        problem = run_files.describe_mismatch(model.digest(), run.receipt)
        if not problem and "model" in run.receipt:
            problem = _difference(model, run.receipt["model"])
        if problem:
            raise UsageError(f"{run.weights}: {problem}; take the run from where it was trained")
        return model

    def to_dict(self) -> dict[str, Any]:
        """The metadata: all but the weights, as JSON."""
        return {"project": project.name(), "settings": architecture(self.settings), "spec": dict(self.spec)}

    def digest(self) -> str:
        """SHA-256 over the names, types, shapes and bytes of the weights, in the order of their names."""
        content = hashlib.sha256()
        for name, tensor in sorted(self.network.state_dict().items()):
            content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            content.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return content.hexdigest()


def architecture(settings: TrainingSettings) -> dict[str, Any]:
    """The settings that say which network it is."""
    return {name: value for name, value in flags.to_dict(settings).items() if name in settings.architecture}


def read_metadata(task: Task, metadata: Mapping[str, Any]) -> tuple[TrainingSettings, Spec]:
    """Settings and spec of a model's file or receipt. Raises LookupError, TypeError or ValueError if it has none."""
    if metadata.get("project", project.name()) != project.name():
        raise ValueError(f"of the project {printable(metadata['project'], longest=80)}, not of {project.name()}")
    if "spec" not in metadata:
        metadata = task.read_first_edition(metadata)
    settings = flags.from_dict(project.settings_class(), metadata["settings"])
    return settings, task.check_spec(metadata["spec"])


def _difference(model: Model, recorded: Mapping[str, Any]) -> str:
    """In what a model differs from the `model` of a receipt; empty if in nothing."""
    try:
        settings, spec = read_metadata(model.task, recorded)
    except (LookupError, TypeError, ValueError) as error:
        return f"its receipt's model is of other code ({_first_line(error)})"
    old = {"settings": architecture(settings), "spec": spec}
    new = {"settings": architecture(model.settings), "spec": model.spec}
    return "; ".join(receipt.diff(old, new, fields=["settings", "spec"])[:3])


def _network_with(weights: Mapping[str, Tensor], task: Task, settings: TrainingSettings, spec: Spec) -> nn.Module:
    """The network with these weights. Raises ValueError, before it allocates memory, if they are of a different one."""
    with torch.device("meta"):  # allocates no memory, however large the settings say it is
        expected = build_network(task, settings, spec).state_dict()
    expected_shapes = {name: tensor.shape for name, tensor in expected.items()}
    if expected_shapes != {name: tensor.shape for name, tensor in weights.items()}:
        raise ValueError("other weights than its network has")
    network = build_network(task, settings, spec)
    network.load_state_dict(weights)
    return network


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for weights that are NaN or infinite."""
    for name, tensor in weights.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{printable(name, longest=80)} has values that are no finite numbers")


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
