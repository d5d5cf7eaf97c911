"""Layers that give the same bits on any x86-64 CPU where those of torch.nn do not, or are slow at the CPU level.

| layer                     | what is wrong with that of torch.nn                                              |
|---------------------------|----------------------------------------------------------------------------------|
| `Linear`                  | MKL is slow at the pinned CPU level                                              |
| `Dropout`                 | it draws from a global generator, which threads use in any order                 |
| `GELU`, `SiLU`, `Sigmoid` | the C library, which rounds by its version, computes the last elements           |
| `Tanh`                    | MKL's vector functions choose their code by the chip                             |

The weights have the names and shapes of torch.nn's layers. On a GPU and in an exported graph they are those layers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.core.command import UsageError
from samebench.training import sample_random
from samebench.training.task import SampleRandom

VECTOR = 64  # elements: a multiple of what every vector loop of ATen takes at once
_random: ContextVar[tuple[SampleRandom, Iterator[int]]] = ContextVar("_random")


@contextmanager
def draw_from(random: SampleRandom) -> Iterator[None]:
    """In this thread, let the Dropout layers of one forward pass draw their numbers from `random`."""
    token = _random.set((random, count()))
    try:
        yield
    finally:
        _random.reset(token)


class Linear(nn.Linear):
    """`torch.nn.Linear` by oneDNN, whose matrix product uses AVX2 at the pinned level: see docs/same-bits.md."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(…, in_features) to (…, out_features)."""
        if not _on_cpu(input) or torch.is_autocast_enabled("cpu") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return super().forward(input)
        rows = input.flatten(0, -2) if input.ndim > 1 else input.unsqueeze(0)
        outputs: Tensor = _OneDnnLinear.apply(rows, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return outputs.view(*input.shape[:-1], self.out_features)


class _OneDnnLinear(torch.autograd.Function):
    """(N, I), (O, I) and (O,) or None to (N, O)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows, weight = ctx.saved_tensors
        return (
            _product(gradient, weight.t()) if ctx.needs_input_grad[0] else None,
            _product(gradient.t(), rows.t()) if ctx.needs_input_grad[1] else None,
            gradient.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _product(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`rows @ weight.t() + bias`."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")  # noqa: SLF001 - has no public name
    return product


class Dropout(nn.Module):
    """`torch.nn.Dropout` with random numbers that depend on seed, epoch, example and the place in the network alone.

    The first dimension of its input is the examples. It draws 16 bits for each element, so `p` is rounded to 2**-16.
    """

    def __init__(self, p: float = 0.5) -> None:
        """Set each element to 0 with probability `p`, from 0 to 1 but not 1, and scale the others by 1 / (1 - p)."""
        super().__init__()
        if not 0 <= p < 1:
            raise UsageError(f"Dropout p={p} is impossible; take 0 or more, and less than 1")
        self.p = p

    def extra_repr(self) -> str:
        """Show `p`."""
        return f"p={self.p}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, …) to the same shape; unchanged in evaluation. Raises UsageError for a call outside of a training."""
        if not self.training or not self.p:
            return x
        try:
            random, number = _random.get()
        except LookupError:
            remedy = "call eval() on the network, or draw_from() around its forward pass"
            raise UsageError(f"Dropout: no random numbers outside of the bench's training; {remedy}") from None
        examples = len(random.indices)
        if x.numel() % examples:
            raise UsageError(f"Dropout: {tuple(x.shape)} is no tensor of {examples} examples; put them first")
        bits = _random_bits(random, x.numel() // examples, purpose=f"dropout {next(number)}")
        keep = torch.from_numpy(bits >= round(self.p * 2**16)).view(x.shape).to(x.device)
        return x * (keep * (1 / (1 - self.p))).to(x.dtype)


def _random_bits(random: SampleRandom, size: int, *, purpose: str) -> "np.ndarray[Any, np.dtype[np.uint16]]":
    """16 random bits (N, size) for each element of each example."""
    words = -(-size // 4)  # of 64 bits
    places = random.indices.numpy()[:, None] * words + np.arange(words)
    bits = sample_random.bits(places, seed=random.seed, epoch=random.epoch, purpose=purpose)
    return bits.view(np.uint16)[:, :size]


class GELU(nn.Module):
    """`torch.nn.GELU` without approximation, with torch's own error."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return _in_whole_vectors(functional.gelu, x)


class SiLU(nn.Module):
    """`torch.nn.SiLU`, with torch's own error."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return _in_whole_vectors(functional.silu, x)


class Sigmoid(nn.Module):
    """`torch.nn.Sigmoid`, with torch's own error."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return _in_whole_vectors(torch.sigmoid, x)


class Tanh(nn.Module):
    """`torch.nn.Tanh` as 2 sigmoid(2x) - 1: the error is at most 2.4e-7."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        return 2 * _in_whole_vectors(torch.sigmoid, 2 * x) - 1 if _on_cpu(x) else torch.tanh(x)


def _in_whole_vectors(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function` of each element, by ATen's vector code alone: it leaves what fills no vector to the C library."""
    if not _on_cpu(x):
        return function(x)
    missing = -x.numel() % VECTOR
    padded = functional.pad(x.flatten(), (0, missing)) if missing else x.flatten()
    outputs: Tensor = _ContiguousGradient.apply(function(padded))  # type: ignore[no-untyped-call]
    return outputs[: x.numel()].view(x.shape)


class _ContiguousGradient(torch.autograd.Function):
    """The same tensor; vector code computes the gradient, too, as it has no gaps in memory."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].contiguous()


def _on_cpu(x: Tensor) -> bool:
    """Whether the CPU computes it now, and torch does not export it."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


# Operators in these are proved with the layer.
LAYERS = (Linear, Dropout, GELU, SiLU, Sigmoid, Tanh)
