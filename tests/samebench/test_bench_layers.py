"""The bench's layers compute what those of torch compute, and each element the same, wherever in a tensor it is."""

import logging
import warnings
from collections.abc import Callable

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.core.command import UsageError
from samebench.training.layers import GELU, Dropout, Linear, Sigmoid, SiLU, Tanh, draw_from
from samebench.training.task import SampleRandom

from .operator_probe import Inputs

FUNCTIONS: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = [
    (GELU(), functional.gelu),
    (SiLU(), functional.silu),
    (Sigmoid(), torch.sigmoid),
    (Tanh(), torch.tanh),
]
SHAPES = [(5, 33), (2, 3, 33), (33,)]


def gradient(function: Callable[[Tensor], Tensor], x: Tensor, by: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(function(leaf), leaf, by)[0]


@pytest.mark.parametrize(("layer", "function"), FUNCTIONS)
def test_a_function_is_that_of_torch(layer: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
    x = 3 * Inputs()(1001, 33)
    exact = function(x.double())
    assert ((layer(x) - exact).abs() / exact.abs().clamp_min(1)).max() < 2.6e-7
    by = torch.ones_like(x)
    exact = gradient(function, x.double(), by.double())
    assert (gradient(layer, x, by) - exact).abs().max() < 2.5e-6


@pytest.mark.parametrize(("layer", "function"), FUNCTIONS)
def test_each_element_has_the_same_bits_wherever_it_is(layer: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
    x, by = Inputs()(7, 13), Inputs()(13, 7).t()
    single = torch.stack([layer(each) for each in x.flatten()]).view(x.shape)
    assert torch.equal(layer(x), single)
    assert torch.equal(layer(x.t()), single.t())
    one_by_one = [gradient(layer, each, times) for each, times in zip(x.flatten(), by.flatten(), strict=True)]
    assert torch.equal(gradient(layer, x, by), torch.stack(one_by_one).view(x.shape))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_that_of_torch_in_both_directions(shape: tuple[int, ...], bias: bool) -> None:
    layer_of_bench, layer_of_torch = Linear(33, 7, bias=bias), nn.Linear(33, 7, bias=bias)
    layer_of_torch.load_state_dict(layer_of_bench.state_dict())
    x = Inputs()(*shape)
    gradients = []
    for layer in (layer_of_bench, layer_of_torch):
        leaf = x.clone().requires_grad_()
        result = layer(leaf)
        gradients.append([result, *torch.autograd.grad(result.square().sum(), [leaf, *layer.parameters()])])
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)


def test_linear_leaves_frozen_weights_without_a_gradient() -> None:
    layer = Linear(3, 5)
    layer.weight.requires_grad_(False)
    layer(torch.ones(2, 3)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_dropout_depends_on_the_example_and_not_on_the_part_of_the_batch() -> None:
    layer, x = Dropout(0.3), torch.ones(100, 7, 9)

    def dropped(indices: Tensor, *, seed: int = 0, epoch: int = 1) -> tuple[Tensor, Tensor]:
        with draw_from(SampleRandom(seed, epoch, indices)):
            return layer(x[indices]), layer(x[indices])

    first, second = dropped(torch.arange(100))
    assert set(first.flatten().tolist()) == {0, torch.tensor(1 / 0.7).item()}
    assert abs((first == 0).float().mean() - 0.3) < 0.02
    assert not torch.equal(first, second)  # two layers
    order = torch.arange(100).flip(0)
    parts = [dropped(part)[0] for part in order.chunk(7)]
    assert torch.equal(torch.cat(parts), first.flip(0))
    assert not torch.equal(dropped(torch.arange(100), epoch=2)[0], first)
    assert not torch.equal(dropped(torch.arange(100), seed=1)[0], first)


def test_dropout_of_one_example_differs_from_that_of_the_next() -> None:
    with draw_from(SampleRandom(0, 1, torch.arange(2))):
        one, other = Dropout(0.5)(torch.ones(2, 1000))
    assert 400 < int((one == other).sum()) < 600


def test_dropout_changes_nothing_in_evaluation_and_refuses_to_draw_without_the_bench() -> None:
    layer, x = Dropout(0.3), torch.ones(3)
    assert layer.eval()(x) is x
    with pytest.raises(UsageError, match="no random numbers outside of the bench's training; call eval"):
        layer.train()(x)
    with draw_from(SampleRandom(0, 1, torch.arange(2))), pytest.raises(UsageError, match="no tensor of 2 examples"):
        layer(x)
    with pytest.raises(UsageError, match=r"p=1 is impossible"):
        Dropout(1)


def test_they_are_exported_as_torchs_own_and_answer_the_same() -> None:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    layers = [Linear(33, 16), GELU(), Linear(16, 16), SiLU(), Tanh(), Sigmoid(), Dropout(0.1), Linear(16, 2)]
    network = nn.Sequential(*layers).eval()
    x = Inputs()(5, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        count = torch.export.Dim("count")
        program = torch.onnx.export(network, (x[:2],), dynamic_shapes=({0: count},), dynamo=True, verbose=False)
    assert program is not None
    graph = program.model_proto
    names = [node.op_type for node in graph.graph.node]
    assert names == ["Gemm", "Gelu", "Gemm", "Sigmoid", "Mul", "Tanh", "Sigmoid", "Gemm"]
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(answer), network(x), rtol=1e-5, atol=1e-5)
