"""A two-layer transformer encoder of the bench's layers, as the network of the text project.

python -m tests.sections.encoder    trains it in runs/ and prints the hash of its weights; torchrun may start it, too
"""

import sys
from pathlib import Path
from typing import Any

from samebench.environment import determinism

determinism.pin()

from torch import Tensor, nn  # noqa: E402 - once the CPU level stands

from samebench import project  # noqa: E402
from samebench.runs.run import Run  # noqa: E402
from samebench.training import train  # noqa: E402
from samebench.training.layers import GELU, Dropout, Linear  # noqa: E402
from samebench.training.process_group import join_process_group  # noqa: E402
from samebench.training.task import Spec  # noqa: E402
from sections.settings import Settings  # noqa: E402
from sections.task import Sections  # noqa: E402

SETTINGS = Settings(data="synthetic", epochs=1, batch_size=128, width=16, lr=0.1)
HEADS = 2


class EncoderLayer(nn.Module):
    """Attention, then two linear layers; each is added to what it is given, normalised."""

    def __init__(self, width: int) -> None:
        """Have HEADS heads."""
        super().__init__()
        self.queries_keys_values, self.mix = Linear(width, 3 * width), Linear(width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.feed_forward = nn.Sequential(Linear(width, 4 * width), GELU(), Linear(4 * width, width), Dropout(0.1))
        self.drop = Dropout(0.1)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        """Words (N, L, width) and a mask (N, 1, 1, L), True for a word that is none."""
        parts = self.queries_keys_values(self.norms[0](words)).unflatten(2, (3, HEADS, -1))
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, HEADS, L, width / HEADS)
        scores = (queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5).masked_fill(mask, -1e4)
        mixed = (self.drop(scores.softmax(3)) @ values).transpose(1, 2).flatten(2)
        words = words + self.mix(mixed)
        return words + self.feed_forward(self.norms[1](words))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Tokens (N, L) in, logits (N, classes) out."""

    def __init__(self, *, buckets: int, width: int, classes: int) -> None:
        """Have two layers."""
        super().__init__()
        self.words = nn.Embedding(buckets, width)
        nn.init.uniform_(self.words.weight, -1, 1)
        self.layers = nn.ModuleList([EncoderLayer(width), EncoderLayer(width)])
        self.head = Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """The head is asked about the mean of the words."""
        words, mask = self.words(tokens), (tokens == 0)[:, None, None]
        for layer in self.layers:
            words = layer(words, mask)
        return self.head(words.mean(1))  # type: ignore[no-any-return]


class EncoderTask(Sections):
    """The text project with this network."""

    def build_network(self, settings: Any, spec: Spec) -> nn.Module:
        """See Task."""
        return Encoder(buckets=spec["buckets"], width=settings.width, classes=len(spec["labels"]))


def run(runs: Path, threads: int | None = None) -> Run | None:
    """Train it; the run, in the process that leads."""
    with join_process_group() as group:
        trained = train.train(SETTINGS, runs=runs, threads=threads, group=group)
        return trained if group.is_rank_zero else None


if __name__ == "__main__":
    setattr(project, "task", EncoderTask)  # noqa: B010
    if trained := run(Path(sys.argv[1])):
        print(trained.receipt["same_bits"], trained.receipt["weights_sha256"])
