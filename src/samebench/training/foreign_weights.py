"""Weights of others: any safetensors file, whose tensors go into a network by their names."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from samebench.core import files
from samebench.core.command import UsageError
from samebench.core.text import printable
from samebench.settings import TrainingSettings
from samebench.training.model import Model, build_network
from samebench.training.task import DataModule, Task

MAX_TENSORS = 20_000
MAX_NAMES = 4  # in a message
PICKLES = {".pt", ".pth", ".bin", ".ckpt", ".pkl"}
CONVERT = "convert it where you trust it: safetensors.torch.save_file(torch.load(…), 'weights.safetensors')"


@dataclass(frozen=True)
class ForeignWeights:
    """The tensors of a safetensors file that no training of the bench has written."""

    source: str  # the setting `init`
    tensors: Mapping[str, Tensor]
    sha256: str  # of the file

    @classmethod
    def load(cls, source: str, path: Path) -> "ForeignWeights":
        """The file at `path`. Raises UsageError for one that is no safetensors file, or has impossible numbers."""
        try:
            tensors = safetensors.torch.load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            reason = printable(error, longest=120)
            raise UsageError(f"{source}: no safetensors file ({reason}); take another") from error
        if len(tensors) > MAX_TENSORS:
            raise UsageError(f"{source}: {len(tensors):,} tensors, at most {MAX_TENSORS:,}; take another")
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and tensor.itemsize == 1:
                kind = str(tensor.dtype).removeprefix("torch.")
                what = f"{printable(name, longest=80)} is {kind}, whose scale is elsewhere"
                raise UsageError(f"{source}: {what}; convert it to float32")
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise UsageError(f"{source}: {printable(name, longest=80)} has NaN or infinity; take another")
        return cls(source, tensors, files.digest(path))

    @property
    def architecture(self) -> Mapping[str, Any]:
        """The settings that say which network it is: such a file names none."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """What identifies it in the `init` of a receipt."""
        return {"weights_sha256": self.sha256}

    def fit(self, settings: TrainingSettings, task: Task, data: DataModule) -> dict[str, Any]:
        """The rest of the `init`: the spec, and the names that match, that are unused and that stay fresh.

        Raises UsageError if nothing matches, or if the settings don't say with which statistics it was trained.
        """
        network = build_network(task, settings, data.spec)
        match = Match.of(self.tensors, network, settings.init_names)
        if not match.sources:
            names = f"{_join(match.unused)} in the file, {_join(match.fresh)} in the network"
            rule = suggest_rule(self.tensors, network.state_dict())
            remedy = f"map its prefixes: --init-names '{rule}'" if rule else "start from another file"
            raise UsageError(f"{self.source}: no name and shape matches: {names}; {remedy}")
        return {"spec": task.foreign_spec(data.spec, settings.init_statistics), **match.to_dict()}

    @torch.no_grad()
    def load_into(self, model: Model) -> str:
        """Copy the tensors that match into the network of `model`; what was done, in words."""
        match = Match.of(self.tensors, model.network, model.settings.init_names)
        parameters = model.network.state_dict()
        for name, source in match.sources.items():
            parameters[name].copy_(self.tensors[source])
        rest = [f"fresh: {_join(match.fresh)}"] if match.fresh else []
        rest += [f"not used: {_join(match.unused)}"] if match.unused else []
        return "; ".join([f"with {len(match.sources)} of its {len(self.tensors)} tensors by their names", *rest])


@dataclass(frozen=True)
class Match:
    """Which tensors of a file go where."""

    sources: Mapping[str, str]  # the name in the file by the name in the network
    fresh: list[str]  # of the network, without a tensor in the file
    unused: list[str]  # of the file

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], network: nn.Module, rules: str) -> "Match":
        """Match by name, shape and kind of number, after prefixes of the names in the file are replaced by `rules`.

        Rules are `old=new`, which commas separate; the first one that fits a name counts. Raises UsageError for a
        rule without `=`, and for two tensors with one name.
        """
        parameters, sources = network.state_dict(), dict[str, str]()
        pairs = [rule.strip().split("=") for rule in rules.split(",") if rule.strip()]
        if any(len(pair) != 2 for pair in pairs):
            raise UsageError(f"setting init_names={rules!r} is impossible; give old=new, such as 'backbone.=stem.'")
        for source, tensor in tensors.items():
            name = next((new + source[len(old) :] for old, new in pairs if source.startswith(old)), source)
            if name in parameters and _fits(tensor, parameters[name]):
                if name in sources:
                    both = f"{printable(source, longest=80)} and {printable(sources[name], longest=80)}"
                    raise UsageError(f"setting init_names={rules!r} is impossible; {both} would both be {name}")
                sources[name] = source
        fresh, used = [name for name in parameters if name not in sources], {*sources.values()}
        return cls(sources, fresh, [name for name in sorted(tensors) if name not in used])

    def to_dict(self) -> dict[str, Any]:
        """What a receipt has of it."""
        return {"matched": len(self.sources), "fresh": self.fresh, "unused": [printable(each) for each in self.unused]}


def _fits(tensor: Tensor, parameter: Tensor) -> bool:
    """Whether a tensor can be copied into a parameter: whole numbers are no weights without their scale."""
    return tensor.shape == parameter.shape and tensor.is_floating_point() == parameter.is_floating_point()


def suggest_rule(tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> str:
    """The rule `old=new` after which most names and shapes match; empty if there is none."""
    rules: Counter[str] = Counter()
    places, sources = _by_suffix(parameters), _by_suffix(tensors)
    for source, tensor in tensors.items():
        rules.update(f"={prefix}" for name, prefix in places.get(source, ()) if _fits(tensor, parameters[name]))
    for name, tensor in parameters.items():
        rules.update(f"{prefix}=" for source, prefix in sources.get(name, ()) if _fits(tensors[source], tensor))
    return rules.most_common(1)[0][0] if rules else ""


def _by_suffix(names: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """The names that end in each series of whole parts, each with what is before it."""
    by_suffix: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        for place in (match.end() for match in re.finditer(r"\.", name)):
            by_suffix.setdefault(name[place:], []).append((name, name[:place]))
    return by_suffix


def refuse_pickle(source: str, path: Path) -> None:
    """Raise UsageError for a file that torch.load would run."""
    if path.suffix in PICKLES:
        raise UsageError(f"{source}: a pickle, which can run anything when it is read; {CONVERT}")


def _join(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES:,} more" if len(names) > MAX_NAMES else ""
    return ", ".join(printable(name, longest=60) for name in names[:MAX_NAMES]) + more
