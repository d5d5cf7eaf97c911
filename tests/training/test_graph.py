"""What a network's CUDA graphs are recorded from; that they give what the operations give is in test_gpu.py."""

from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch import Tensor, nn

from samebench.training import cuda_graph
from tiny.settings import Network

from .models import make_network


class Recorder:
    """Stands in for torch's, which needs a GPU: like that one it runs the network some times and remembers how."""

    def __init__(self) -> None:
        self.said: list[tuple[bool, bool, bool]] = []

    def __call__(self, network: nn.Module, images: tuple[Tensor, ...]) -> None:
        for _ in range(3):
            torch.autograd.grad(network(*images).float().sum(), list(network.parameters()))
            autocast = torch.is_autocast_enabled("cpu")
            self.said.append((network.training, autocast, autocast and torch.is_autocast_cache_enabled()))


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", ["linear", "conv", "residual"])
def test_what_torch_tries_while_it_records_leaves_the_network_as_it_was(
    name: Network, bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    precision: AbstractContextManager[object] = nullcontext()
    if bf16:
        precision = torch.autocast("cpu", torch.bfloat16, cache_enabled=False)
    recorder, network = Recorder(), make_network(name, seed=0)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", recorder)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    where = [tensor.data_ptr() for tensor in network.state_dict().values()]
    cuda_graph.capture(network.eval(), (torch.rand(8, 1, 28, 28),), precision)
    assert set(recorder.said) == {(True, bf16, False)}
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert [tensor.data_ptr() for tensor in network.state_dict().values()] == where
