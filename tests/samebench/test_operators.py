"""The operators of a training step are held against the list of those that give the same bits."""

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from samebench.training import operators
from samebench.training.layers import GELU, Linear
from samebench.training.operators import ANY_MACHINE, BY_PROBE, NONE, OPERATORS, THIS_MACHINE, Findings

from . import operator_probe

CPU = torch.device("cpu")


def findings(*layers: nn.Module) -> Findings:
    network = nn.Sequential(nn.Linear(3, 5), *layers)
    return operators.examine(lambda: network(torch.ones(2, 3)).sum().backward(), network)


def test_plain_layers_are_proved() -> None:
    result = findings(nn.ReLU(), nn.LayerNorm(5), nn.Softmax(1), Linear(5, 3), GELU())
    assert result == Findings()
    assert result.weaken(ANY_MACHINE) == ANY_MACHINE
    assert result.weaken(THIS_MACHINE) == THIS_MACHINE


def test_dropout_of_torch_is_named_with_its_layer_and_leaves_no_promise() -> None:
    result = findings(nn.Sequential(nn.ReLU(), nn.Dropout(0.1)), nn.GELU())
    assert result.random == {"aten.bernoulli_": "layer 1.1 (Dropout)"}
    assert result.weaken(ANY_MACHINE) == NONE
    assert "draw from a global generator: aten.bernoulli_ in layer 1.1 (Dropout); take" in str(result)


def test_gelu_of_torch_is_named_in_both_directions_and_leaves_this_machine() -> None:
    result = findings(nn.GELU())
    assert result.unproved == dict.fromkeys(["aten.gelu", "aten.gelu_backward"], "layer 1 (GELU)")
    assert result.weaken(ANY_MACHINE) == THIS_MACHINE


def test_an_operator_outside_of_layers_is_named_too() -> None:
    class Root(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input).sqrt()

    network = Root(3, 5)
    result = operators.examine(lambda: network(torch.ones(2, 3)).sum().tanh(), network)
    assert result.unproved == {"aten.sqrt": "the network (Root)", "aten.tanh": "the loss or the optimizer"}


def test_the_global_generator_is_left_as_it_was() -> None:
    network = nn.Dropout(0.5)
    before = torch.random.get_rng_state()
    operators.examine(lambda: network(torch.ones(3)), network)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fast_promises_nothing_and_a_gpu_no_other_machine() -> None:
    assert operators.strongest(CPU, fast=True) == NONE
    assert operators.strongest(CPU, fast=False) in {ANY_MACHINE, THIS_MACHINE}
    assert operators.strongest(torch.device("cuda"), fast=False) == THIS_MACHINE


def test_every_operator_of_the_list_is_one_of_torch() -> None:
    for name in OPERATORS:
        namespace, _, operator = name.partition(".")
        assert hasattr(getattr(torch.ops, namespace), operator), name


def test_the_probe_computes_every_operator_that_it_is_said_to_have_proved() -> None:
    used: set[str] = set()

    class Names(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            used.add(str(func.overloadpacket))
            return func(*args, **(kwargs or {}))

    with Names():  # type: ignore[no-untyped-call]
        for case in operator_probe.CASES.values():
            case(operator_probe.Inputs())
    assert {name for name, how in OPERATORS.items() if how == BY_PROBE} <= used
