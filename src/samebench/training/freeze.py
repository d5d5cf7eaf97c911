"""Freezing: parameters that a training leaves as they are, chosen by their names."""

from fnmatch import fnmatchcase
from types import MethodType

from torch import nn

from samebench.core.command import UsageError

MAX_NAMES = 6  # in a message


def freeze(network: nn.Module, patterns: str) -> None:
    """Freeze the parameters whose names match one of the patterns, which commas separate, such as `features.*`.

    A layer of which all parameters are frozen stays in evaluation mode, and so do the layers in it: it normalises with
    the statistics that it has, these stay, too, and nothing is dropped out. Raises UsageError for a pattern that
    matches no name, and if nothing is left to train.
    """
    parameters = dict(network.named_parameters())
    for pattern in filter(None, (each.strip() for each in patterns.split(","))):
        matched = [name for name in parameters if fnmatchcase(name, pattern)]
        if not matched:
            more = ", …" if len(parameters) > MAX_NAMES else ""
            names = ", ".join([*parameters][:MAX_NAMES])
            raise UsageError(f"setting freeze={patterns!r} is impossible; no parameter is {pattern}: {names}{more}")
        for name in matched:
            parameters[name].requires_grad_(False)
    if not any(each.requires_grad for each in parameters.values()):
        raise UsageError(f"setting freeze={patterns!r} is impossible; leave a parameter to train")
    for layer in network.modules():
        layer_parameters = [*layer.parameters()]  # with those of the layers in it, whose mode follows
        if layer_parameters and not any(each.requires_grad for each in layer_parameters):
            layer.train = MethodType(_stay, layer)  # type: ignore[method-assign] # a copy has it bound to itself
            layer.eval()


def _stay(layer: nn.Module, mode: bool = True) -> nn.Module:  # noqa: ARG001 - as torch calls it
    return nn.Module.train(layer, mode=False)
