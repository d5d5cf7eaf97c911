"""A network's forward and backward pass as CUDA graphs: one launch each instead of one an operation.

Why: with a network as small as ours the CPU takes longer to launch the operations than the GPU takes to do them.
CUDA graphs rather than torch.compile, which needs a C compiler in the workspace.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def capture(network: nn.Module, inputs: tuple[Tensor, ...], precision: AbstractContextManager[object]) -> None:
    """Have `network` do what it does in training, from now on, as CUDA graphs; for `inputs` (N, …) of these shapes.

    Its weights and buffers are as they were, and must stay where they are in memory. `precision` must cache nothing.
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    # Else the first to ask the GPU in torch's thread for gradients is cuBLAS, which warns that nobody was before it.
    one = torch.ones((), device=inputs[0].device, requires_grad=True)
    torch.autograd.grad(one * 2, one)
    with precision:
        torch.cuda.make_graphed_callables(network.train(), inputs)
    for buffer, before in buffers:  # torch runs the network some times first
        buffer.copy_(before)
