"""Interpolated Kneser-Ney n-grams, pruned to a size: the reference of `benchmarks.spectral`."""

from collections import Counter
from collections.abc import Sequence
from math import log2
from typing import NamedTuple

Gram = tuple[int, ...]


class Level(NamedTuple):
    """Probabilities of one order: p(w | h) = probability[h w] + backoff[h] p(w | h without its first token).

    An n-gram that was not kept has probability 0; a context without kept n-grams has backoff 1 and is not stored.
    """

    probability: dict[Gram, float]
    backoff: dict[Gram, float]


class KneserNey:
    """An n-gram model of a text with one absolute discount for each order, n₁ / (n₁ + 2 n₂).

    Kneser, Ney: "Improved Backing-Off for M-gram Language Modeling", ICASSP 1995; interpolated as in Chen, Goodman: "An
    Empirical Study of Smoothing Techniques for Language Modeling", 1999, section 3. Counts below the highest order are
    numbers of different tokens before. The lowest order is mixed with the uniform distribution.

    Args:
        counts: of the n-grams of the text by order from 1 to n, see `counted`.
        vocabulary: number of different tokens that are possible.
        cutoff: of orders above 1, n-grams with fewer counts are not stored; their share goes to the lower order, so
            that probabilities still add up to 1.
    """

    def __init__(self, counts: Sequence[Counter[Gram]], vocabulary: int, cutoff: int = 1) -> None:
        self.order, self.vocabulary = len(counts), vocabulary
        self.levels = [_level(found, cutoff if n > 1 else 1) for n, found in enumerate(counts, 1)]

    @property
    def size(self) -> int:
        """Numbers that are stored."""
        return sum(len(level.probability) + len(level.backoff) for level in self.levels)

    def probability(self, context: Gram, token: int) -> float:
        """Of a token after a context of any length."""
        found = 1.0 / self.vocabulary
        for n, level in enumerate(self.levels):
            if n > len(context):
                break
            history = context[len(context) - n :]
            found = level.probability.get((*history, token), 0.0) + level.backoff.get(history, 1.0) * found
        return found

    def bits(self, windows: Sequence[Sequence[int]]) -> float:
        """Mean of -log₂ of the probability of each token of windows but the first, after those of its window."""
        total = count = 0.0
        for window in windows:
            for i in range(1, len(window)):
                context = tuple(window[max(i - self.order + 1, 0) : i])
                total -= log2(self.probability(context, window[i]))
            count += len(window) - 1
        return total / count


def counted(tokens: Sequence[int], order: int) -> list[Counter[Gram]]:
    """Occurrences of the n-grams of the highest order, and of each lower order the different tokens before them."""
    counts = [Counter(zip(*(tokens[i:] for i in range(order)), strict=False))]
    for _ in range(order - 1):
        counts.insert(0, Counter(gram[1:] for gram in counts[0]))
    return counts


def _level(counts: Counter[Gram], cutoff: int) -> Level:
    once, twice = (sum(1 for count in counts.values() if count == n) for n in (1, 2))
    discount = once / (once + 2 * twice) if once else 0.5
    totals: Counter[Gram] = Counter()
    for gram, count in counts.items():
        totals[gram[:-1]] += count
    probability = {gram: (count - discount) / totals[gram[:-1]] for gram, count in counts.items() if count >= cutoff}
    kept: dict[Gram, float] = {}
    for gram, share in probability.items():
        kept[gram[:-1]] = kept.get(gram[:-1], 0.0) + share
    return Level(probability, {history: 1 - share for history, share in kept.items()})
