"""Counts of the words of texts, over the words that are neither too rare nor in too many texts."""

import torch
from torch import Tensor, nn

from zoo.domain import TextDomain
from zoo.domain.text import FIRST
from zoo.training.projection_set import ProjectionSet


class WordCounts(nn.Module):
    """How often each of V words occurs in texts, (B, T) token numbers to (B, V).

    Words are the tokens of the domain: words of its vocabulary, or pieces of its tokenizer. Padding and unknown words
    are none.

    Buffers: `word` (V,) token numbers in ascending order; where there are fewer words the rest is the number after the
    last token · `frequency` (V,) share of all occurrences in the training texts.

    Args:
        domain: of the texts.
        most: largest number of words.
    """

    word: Tensor
    frequency: Tensor

    def __init__(self, domain: TextDomain, most: int) -> None:
        super().__init__()
        self.domain, self.count = domain, min(most, domain.size - FIRST)
        self.register_buffer("word", torch.full((self.count,), domain.size))
        self.register_buffer("frequency", torch.zeros(self.count))

    @property
    def used(self) -> Tensor:
        """(V,) bool, the columns that have a word."""
        return self.word < self.domain.size

    def choose(self, projection_set: ProjectionSet, least: int, most: float) -> None:
        """Chooses the most frequent words among those in enough and not too many training texts.

        Args:
            projection_set: the training set.
            least: number of texts that a word must be in.
            most: largest share of the texts that a word may be in.

        Raises:
            ValueError: no word is left.
        """
        texts = torch.zeros(self.domain.size, dtype=torch.double, device=self.word.device)  # with each word
        times = torch.zeros_like(texts)
        for batch in projection_set:
            x = batch["input"]
            there = texts.new_zeros(len(x), len(texts)).scatter_(1, x, 1.0)
            texts += there.sum(0)
            times += torch.bincount(x.flatten(), minlength=len(texts))
        texts, times = projection_set.total(texts), projection_set.total(times)
        kept = (texts >= least) & (texts <= most * len(projection_set))
        kept[:FIRST] = False
        if not kept.any():
            raise ValueError(
                f"no word is in at least {least} and at most {most:.0%} of the {len(projection_set)} training texts; "
                "lower `least` or raise `most`."
            )
        best = (
            times.masked_fill(~kept, 0.0).sort(descending=True, stable=True).indices[: min(self.count, int(kept.sum()))]
        )
        chosen = best.sort().values
        self.word.fill_(self.domain.size)[: len(chosen)] = chosen
        self.frequency.zero_()[: len(chosen)] = (times[chosen] / times[chosen].sum()).float()

    def columns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The column (B, T) of each token, and whether it has one (B, T)."""
        column = torch.searchsorted(self.word, x).clamp_max(self.count - 1)
        return column, self.word[column] == x

    def forward(self, x: Tensor) -> Tensor:
        column, known = self.columns(x)
        counts = self.frequency.new_zeros(x.shape[0], self.count)
        return counts.scatter_add(1, column, known.to(counts))

    def names(self) -> list[str]:
        """The words by column, as the domain writes them; "" for a column without one."""
        return [self.domain.token(n) if n < self.domain.size else "" for n in self.word.tolist()]
