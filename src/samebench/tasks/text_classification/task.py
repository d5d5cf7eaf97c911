"""Text classification: words in, the probability of each class out."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from samebench.tasks.classification import Classification
from samebench.tasks.text_classification import serving, text_data
from samebench.training.task import Batch, DataModule, SampleRandom, Spec

BLANKS = 6  # words that a training text may lose, by its length


class WordNetwork(nn.Module):
    """Tokens (N, L) in, logits (N, classes) out, for any L: the mean of the words, and the highest of their windows.

    No random numbers, and plain arithmetic alone: see docs/same-bits.md.
    """

    def __init__(self, *, buckets: int, width: int, windows: int, classes: int) -> None:
        """Have `windows` filters over three neighbouring words; none where it is 0."""
        super().__init__()
        self.words = nn.Embedding(buckets, width)
        nn.init.uniform_(self.words.weight, -1, 1)  # torch's own draw takes a logarithm
        self.windows = nn.Conv1d(width, windows, kernel_size=3, padding=1) if windows else None
        self.head = nn.Linear(width + windows, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """A text without words has the mean 0."""
        mask = (tokens != 0).float().unsqueeze(1)  # (N, 1, L)
        words = self.words(tokens).transpose(1, 2) * mask  # (N, width, L)
        features = words.sum(2) / mask.sum(2).clamp_min(1)
        if self.windows is not None:
            windows = functional.relu(self.windows(words)) * mask
            features = torch.cat([features, windows.amax(2)], dim=1)
        return self.head(features)  # type: ignore[no-any-return]


class TextClassification(Classification):
    """Its spec: `labels`, and `buckets` and `length` of the tokens. The settings of a project have `rare_weight`."""

    def load_data(self, name: str) -> DataModule:
        """See text_data.load."""
        return text_data.load(name)

    def augment(self, batch: Batch, random: SampleRandom, spec: Spec) -> Batch:
        """Some words are left out: a blank at each of a few places, of which a short text has not all."""
        tokens = batch["tokens"].clone()
        for number in range(BLANKS):
            places = random.integers(f"blank {number}", tokens.shape[1])
            tokens[torch.arange(len(tokens)), places] = 0
        return {**batch, "tokens": tokens}

    def preprocess(self, batch: Batch, spec: Spec) -> tuple[Tensor, ...]:
        """The tokens."""
        return (batch["tokens"].long(),)

    def loss(self, outputs: Tensor, batch: Batch, settings: Any, spec: Spec) -> tuple[Tensor, Tensor]:
        """Cross-entropy; a text of a rare label has a higher weight."""
        weights = 1 - settings.rare_weight + settings.rare_weight * batch["weights"]
        losses = functional.cross_entropy(outputs.float(), batch["labels"], reduction="none")
        return (weights * losses).sum(), weights.sum()

    def check_spec(self, spec: Mapping[str, Any]) -> Spec:
        """Labels and sizes. Raises LookupError, TypeError or ValueError for impossible ones."""
        return serving.check_spec(spec)
