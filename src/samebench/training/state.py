"""The state of a training as the tensors of a checkpoint."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from samebench.training.shards import Gradients

Tensors = Mapping[str, Tensor]


def to_tensors(
    network: nn.Module, optimizer: Optimizer, gradients: Gradients, best_weights: Tensors, losses: Sequence[Tensor]
) -> dict[str, Tensor]:
    """The tensors by name. All processes call it together: it gathers the buffers of every shard."""
    tensors = {"losses": torch.tensor([float(loss) for loss in losses], dtype=torch.float64)}
    tensors |= _with_prefix("network", network.state_dict())
    tensors |= _with_prefix("best", best_weights)
    for shard, buffers in enumerate(gradients.buffers()):
        tensors |= _with_prefix(f"shard.{shard}", buffers)
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= _with_prefix(f"optimizer.{number}", moments)
    return tensors


def count_shards(tensors: Tensors) -> int:
    """How many shards have buffers in it; 0 for a network without buffers."""
    return len({name.split(".")[1] for name in tensors if name.startswith("shard.")})


@torch.no_grad()
def load(tensors: Tensors, network: nn.Module, optimizer: Optimizer, gradients: Gradients) -> dict[str, Tensor]:
    """Load what `to_tensors` returned, and return the best weights.

    Raises LookupError, TypeError, ValueError or RuntimeError if the tensors don't fit.
    """
    network.load_state_dict(_without_prefix("network", tensors))
    gradients.restore([_without_prefix(f"shard.{shard}", tensors) for shard in range(gradients.count)])
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in _without_prefix("optimizer", tensors).items():
        number, _, key = name.partition(".")
        parameter = parameters[int(number)]
        optimizer.state[parameter][key] = _like(parameter, tensor)
    return _without_prefix("best", tensors)


def _like(parameter: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the memory format of the parameter, as the optimizer made it."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _with_prefix(name: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{name}.{key}": tensor for key, tensor in tensors.items()}


def _without_prefix(name: str, tensors: Tensors) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
