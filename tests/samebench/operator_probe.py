"""What the operators of the list give, forward and backward, in a form that other machines can be compared with.

python -m tests.samebench.operator_probe    prints a hash for each case, as JSON

The cases have sizes that fill vectors and that do not, and tensors with gaps in memory. Their inputs are computed with
integers, so that they are the same everywhere.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.training.layers import GELU, Dropout, Linear, Sigmoid, SiLU, Tanh, draw_from
from samebench.training.task import SampleRandom

SIZES = [(1, 1), (3, 7), (3, 9), (2, 17), (7, 33), (4, 100), (3, 1001), (64, 64), (32, 257), (3001, 65), (50, 9001)]
PRODUCTS = [(1, 1, 1), (3, 5, 7), (33, 65, 17), (64, 64, 64), (128, 300, 40), (7, 2049, 3), (256, 1024, 96)]
Case = Callable[["Inputs"], list[Tensor]]


class Inputs:
    """Draws the inputs of one case, the same each time."""

    def __init__(self) -> None:
        """Start the generator anew."""
        self.generator = torch.Generator().manual_seed(0)

    def __call__(self, *shape: int) -> Tensor:
        """Numbers between -4 and 4."""
        return torch.randint(-(2**20), 2**20, shape, generator=self.generator).float() / 2**18


def computed(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradient of each input."""
    leaves = [each.detach().requires_grad_() for each in inputs]
    result = function(*leaves)
    weights = (torch.arange(result.numel()) % 7 - 3.0).view(result.shape)
    return [result, *torch.autograd.grad((result * weights).sum(), leaves)]


def of_elements(function: Callable[[Tensor], Tensor]) -> Case:
    """A case of a function of one matrix."""

    def case(inputs: Inputs) -> list[Tensor]:
        results = []
        for rows, columns in SIZES:
            x = inputs(rows, columns)
            for each in (x, inputs(rows * columns + 3)[3:].view(rows, columns), inputs(columns, rows).t()):
                results += computed(function, each)
        return results

    return case


def of_products(function: Callable[..., Tensor], *shapes: str) -> Case:
    """A case of a function of tensors with these shapes, in letters: rows n, inputs i, outputs o; or a digit."""

    def case(inputs: Inputs) -> list[Tensor]:
        results = []
        for sizes in PRODUCTS:
            results += computed(function, *(inputs(*sized(shape, sizes)) for shape in shapes))
        return results

    return case


def of_images(function: Callable[..., Tensor], *weights: str) -> Case:
    """A case of a function of images, in both memory formats, and of weights with these shapes."""

    def case(inputs: Inputs) -> list[Tensor]:
        results = []
        for sizes in [(1, 1, 1), (3, 5, 7), (16, 32, 32)]:
            for memory_format in (torch.contiguous_format, torch.channels_last):
                images = inputs(*sized("ni99", sizes)).contiguous(memory_format=memory_format)
                results += computed(function, images, *(inputs(*sized(shape, sizes)) for shape in weights))
        return results

    return case


def sized(shape: str, sizes: tuple[int, int, int]) -> list[int]:
    """The shape in numbers."""
    numbers = dict(zip("nio", sizes, strict=True))
    return [numbers[each] if each in numbers else int(each) for each in shape]


def optimized(optimizer: Callable[..., torch.optim.Optimizer], **options: object) -> Case:
    """A case of some steps of an optimizer."""

    def case(inputs: Inputs) -> list[Tensor]:
        parameters = [nn.Parameter(inputs(size)) for size in (37, 10_003)]
        steps = optimizer(parameters, lr=0.1, weight_decay=0.01, **options)
        for _ in range(4):
            for parameter in parameters:
                parameter.grad = inputs(len(parameter))
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            steps.step()
        return [*parameters]

    return case


def bench_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The bench's layer with these weights."""
    layer = Linear(weight.shape[1], weight.shape[0])
    product: Tensor = torch.func.functional_call(layer, {"weight": weight, "bias": bias}, x)
    return product


def bench_dropout(x: Tensor) -> Tensor:
    """The bench's layer in a training."""
    with draw_from(SampleRandom(0, 1, torch.arange(len(x)))):
        return Dropout(0.1)(x)  # type: ignore[no-any-return]


def attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Without a mask."""
    return torch.softmax(queries @ keys.transpose(-1, -2), -1) @ values


def labels(x: Tensor) -> Tensor:
    """One for each row."""
    return torch.arange(len(x)) % x.shape[1]


CASES: dict[str, Case] = {
    "softmax": of_elements(lambda x: torch.softmax(x, 1)),
    "softmax over rows": of_elements(lambda x: torch.softmax(x, 0)),
    "cross-entropy": of_elements(
        lambda x: functional.cross_entropy(x, labels(x), label_smoothing=0.1, reduction="none")
    ),
    "sum of cross-entropy": of_elements(lambda x: functional.cross_entropy(x, labels(x), reduction="sum")),
    "layer norm": of_elements(lambda x: functional.layer_norm(x, x.shape[1:])),
    "sums": of_elements(lambda x: x.sum(1) + x.sum() + x.mean(1) + x.norm(dim=1)),
    "sum over rows": of_elements(lambda x: x.sum(0) + x.mean(0)),
    "running sum": of_elements(lambda x: x.cumsum(1)),
    "arithmetic": of_elements(lambda x: (x * x + 3 * x - 0.7) / (x.abs() + 0.1) + (x.abs() + 0.3).reciprocal()),
    "rsqrt": of_elements(lambda x: (x.abs() + 0.1).rsqrt()),
    "hard functions": of_elements(
        lambda x: functional.hardswish(x) + functional.leaky_relu(x) + functional.hardtanh(x) + torch.relu(x)
    ),
    "mse": of_elements(lambda x: functional.mse_loss(x, x.detach() / 3, reduction="none")),
    "sum of mse": of_elements(lambda x: functional.mse_loss(x, x.detach() / 3, reduction="sum")),
    "smooth L1": of_elements(lambda x: functional.smooth_l1_loss(x, x.detach() / 3, reduction="none")),
    "matmul": of_products(torch.matmul, "ni", "io"),
    "matmul of batches": of_products(torch.matmul, "3ni", "3io"),
    "linear": of_products(functional.linear, "ni", "oi", "o"),
    "attention": of_products(attention, "3no", "3no", "3n8"),
    "bench Linear": of_products(bench_linear, "ni", "oi", "o"),
    "bench Dropout": of_elements(bench_dropout),
    "bench GELU": of_elements(GELU()),
    "bench SiLU": of_elements(SiLU()),
    "bench Sigmoid": of_elements(Sigmoid()),
    "bench Tanh": of_elements(Tanh()),
    "embedding": lambda inputs: computed(
        lambda weight: functional.embedding(torch.arange(63).view(7, 9) * 5 % 50, weight), inputs(50, 13)
    ),
    "convolution": of_images(lambda x, weight, bias: functional.conv2d(x, weight, bias, padding=1), "oi33", "o"),
    "convolution over lines": of_images(lambda x, weight: functional.conv1d(x.flatten(2), weight, padding=1), "oi3"),
    "batch norm": of_images(
        lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, training=True),
        "i",
        "i",
    ),
    "group norm": of_images(lambda x, weight, bias: functional.group_norm(x, 1, weight, bias), "i", "i"),
    "pools": of_images(
        lambda x: (
            functional.max_pool2d(x, 3, 2)
            + functional.avg_pool2d(x, 3, 2)
            + functional.adaptive_avg_pool2d(x, 2).mean()
        )
    ),
    "SGD": optimized(torch.optim.SGD, momentum=0.9, nesterov=True),
    "fused SGD": optimized(torch.optim.SGD, momentum=0.9, fused=True),
    "fused AdamW": optimized(torch.optim.AdamW, fused=True),
}


def digests() -> Iterator[tuple[str, str]]:
    """The hash of the results of each case, by its name."""
    for name, case in CASES.items():
        content = hashlib.sha256()
        for tensor in case(Inputs()):
            content.update(tensor.detach().contiguous().numpy().tobytes())
        yield name, content.hexdigest()[:16]


if __name__ == "__main__":
    json.dump(dict(digests()), sys.stdout)
