"""The operators of a training step, compared with a list of those that are proved to give the same bits.

An operator is proved if its results, forward and backward, had the same bits on every machine in docs/same-bits.md, at
the pinned CPU level, in float32, for sizes that fill vectors and sizes that do not. Machines are compared by the output
of `python -m tests.samebench.operator_probe`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.module_tracker import ModuleTracker

from samebench.environment import determinism
from samebench.training.layers import LAYERS

ANY_MACHINE, THIS_MACHINE, NONE = PROMISES = ("any x86-64", "this machine", "none")  # the strongest one first

# By how they were proved; of aten, unless they have another namespace. What is missing was not tried, or failed.
BY_DEFINITION = "it makes, moves, compares or selects elements, or computes with integers: nothing is rounded"
BY_IEEE_754 = "+, -, * and / of single elements, which IEEE 754 rounds in one way"
BY_PROBE = "sums, products of matrices and functions: measured by the probe"
PROVED = {
    BY_DEFINITION: """
        _to_copy _unsafe_view abs alias amax amin any all arange argmax argmin argsort as_strided bitwise_and
        bitwise_not bitwise_or cat ceil clamp clamp_max clamp_min clone constant_pad_nd copy copy_ detach diagonal
        embedding empty empty_like eq expand fill fill_ flip floor full full_like gather ge gt index index_put_
        index_select isfinite isnan le lift_fresh logical_and logical_not logical_or lt masked_fill masked_fill_
        max max_pool2d_with_indices maximum min minimum nan_to_num ne neg new_full new_ones new_zeros ones ones_like
        permute relu relu_ repeat round scalar_tensor scatter select select_backward sgn sign slice slice_backward
        sort split split_with_sizes squeeze stack t threshold_backward transpose tril triu trunc unbind unfold
        unsqueeze view where zeros zeros_like zero_
        profiler._record_function_enter_new profiler._record_function_exit
    """,
    BY_IEEE_754: """
        _foreach_add_ add add_ div div_ hardtanh hardtanh_backward leaky_relu leaky_relu_backward mul mul_ reciprocal
        rsub sub sub_
    """,
    BY_PROBE: """
        _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _fused_adamw_ _fused_sgd_ _log_softmax
        _log_softmax_backward_data _softmax _softmax_backward_data addmm avg_pool2d avg_pool2d_backward bmm convolution
        convolution_backward cumsum embedding_dense_backward hardswish hardswish_backward linalg_vector_norm
        max_pool2d_with_indices_backward mean mm mse_loss mse_loss_backward native_batch_norm
        native_batch_norm_backward native_group_norm native_group_norm_backward native_layer_norm
        native_layer_norm_backward nll_loss_backward nll_loss_forward rsqrt smooth_l1_loss smooth_l1_loss_backward sum
        mkldnn._linear_pointwise
    """,
}
OPERATORS = {name if "." in name else f"aten.{name}": how for how, names in PROVED.items() for name in names.split()}


@dataclass
class Findings:
    """The operators of a step that are not proved, each with the layer that was the first to use it."""

    unproved: dict[str, str] = field(default_factory=dict)
    random: dict[str, str] = field(default_factory=dict)  # of these, those that draw from a global generator

    def weaken(self, promise: str) -> str:
        """The promise, or a weaker one if the operators keep no more."""
        limit = NONE if self.random else THIS_MACHINE if self.unproved else ANY_MACHINE
        return weaker(promise, limit)

    def __str__(self) -> str:
        """One line with the operators, their layers and the remedy."""
        named = self.random or self.unproved
        what = "draw from a global generator" if self.random else "are not proved to round the same everywhere"
        listed = ", ".join(f"{operator} in {layer}" for operator, layer in named.items())
        return f"these operators {what}: {listed}; take a layer of samebench.training.layers, docs/same-bits.md"


def examine(step: Callable[[], object], network: nn.Module) -> Findings:
    """Run a training step of `network` in this thread, and compare its operators with the list."""
    with torch.random.fork_rng(devices=[]), ModuleTracker() as tracker:
        recorder = _Recorder(network, tracker)
        with recorder:
            step()
    return recorder.findings


def strongest(device: torch.device, *, fast: bool) -> str:
    """The promise of a training on this device if all of its operators are proved.

    The list is for x86-64. On a GPU or a different CPU "this machine" means the same model of it.
    """
    if fast:
        return NONE
    return ANY_MACHINE if device.type == "cpu" and determinism.cpu_level_variables(fast=False) else THIS_MACHINE


def weaker(one: str, other: str) -> str:
    """The weaker of two promises."""
    return max(one, other, key=PROMISES.index)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, network: nn.Module, tracker: ModuleTracker) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.network, self.tracker, self.findings = network, tracker, Findings()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = str(func.overloadpacket)
        if operator not in OPERATORS and operator not in self.findings.unproved:
            layer, where = self.layer()
            if not isinstance(layer, LAYERS):
                self.findings.unproved[operator] = where
                if torch.Tag.nondeterministic_seeded in func.tags:
                    self.findings.random[operator] = where
        return func(*args, **(kwargs or {}))

    def layer(self) -> tuple[nn.Module | None, str]:
        """The innermost layer that runs, with its name and class; None outside of the network."""
        path = max(self.tracker.parents - {"Global"}, key=len, default="")
        if not path:
            return None, "the loss or the optimizer"
        name = path.partition(".")[2]
        layer = self.network.get_submodule(name)
        return layer, f"layer {name} ({type(layer).__name__})" if name else f"the network ({type(layer).__name__})"
