"""A network's forward and backward pass as CUDA graphs: one launch each instead of one for each operation.

Why: for a small network the CPU takes longer to launch the operations than the GPU to compute them. torch.compile
would need a C compiler in the workspace.
"""

from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn


def capture(network: nn.Module, inputs: tuple[Tensor, ...], precision: AbstractContextManager[object]) -> None:
    """Replace the training passes of `network` by CUDA graphs for `inputs` (N, …) of these shapes.

    Its weights and buffers keep their values, and must keep their places in memory. `precision` must cache nothing.
    """
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    # Without a first gradient in torch's thread cuBLAS warns that the thread has no CUDA context.
    one = torch.ones((), device=inputs[0].device, requires_grad=True)
    torch.autograd.grad(one * 2, one)
    with precision:
        torch.cuda.make_graphed_callables(network.train(), inputs)
    for buffer, initial in buffers:  # torch runs the network a few times to warm up
        buffer.copy_(initial)
