"""How good topics are: coherence and diversity of their words, and perplexity of texts."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric

RELEVANCE = 0.6  # λ of Sievert and Shirley, who found it by a study with people
COHERENT, DIVERSE = 10, 25  # words of a topic that coherence and diversity are about


def relevance(chances: Tensor, frequency: Tensor) -> Tensor:
    """Relevance (K, V) of words to topics: λ log p(word | topic) + (1 - λ) log (p(word | topic) / p(word)).

    Sievert, Shirley: "LDAvis", ILLVI 2014.

    Args:
        chances: p(word | topic), (K, V).
        frequency: p(word), (V,); words of frequency 0 are not relevant.
    """
    found = chances.clamp_min(1e-12).log() - (1 - RELEVANCE) * frequency.clamp_min(1e-12).log()
    return found.masked_fill(frequency == 0, -torch.inf)


def top_words(chances: Tensor, frequency: Tensor, count: int) -> Tensor:
    """The columns (K, n) of the most relevant words of each topic, n at most `count`."""
    return relevance(chances, frequency).topk(min(count, int((frequency > 0).sum())), 1).indices


def together(counts: Tensor) -> Tensor:
    """(V, V) number of texts in which two words occur, from word counts (B, V); on the diagonal, one word."""
    there = (counts > 0).double()
    return there.mT @ there


def npmi(pairs: Tensor, texts: int, words: Tensor) -> Tensor:
    """Coherence (K,): normalised pointwise mutual information, averaged over the pairs of a topic's words.

        log (p(v, w) / p(v) p(w)) / -log p(v, w), from -1, never in one text, to 1, always together

    Lau, Newman, Baldwin: "Machine Reading Tea Leaves", EACL 2014; here a window is a text.

    Args:
        pairs: (V, V) number of texts with both words.
        texts: number of all texts.
        words: (K, n) columns of the words of each topic.
    """
    both = pairs / texts
    one = both.diagonal()
    log_both = both.clamp_min(1e-12).log()
    found = (log_both - one.clamp_min(1e-12).log()[:, None] - one.clamp_min(1e-12).log()) / (-log_both).clamp_min(1e-12)
    found = torch.where(both > 0, found, -1.0)
    first, second = torch.triu_indices(words.shape[1], words.shape[1], 1).to(words)
    values = found[words[:, first], words[:, second]]
    return (values.mean(1) if values.shape[1] else values.new_zeros(len(words))).float()


def diversity(words: Tensor) -> Tensor:
    """Share () of the words (K, n) of all topics that are different (Dieng et al., TACL 2020)."""
    return words.unique().numel() / torch.tensor(float(words.numel()))


class Perplexity(Metric):
    """exp of the mean negative log chance of a word."""

    is_differentiable, higher_is_better, full_state_update = False, False, False
    total: Tensor
    words: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.tensor(0.0, dtype=torch.double), dist_reduce_fx="sum")
        self.add_state("words", torch.tensor(0.0, dtype=torch.double), dist_reduce_fx="sum")

    def update(self, reconstruction: Tensor, words: Tensor) -> None:
        """Adds the negative log chances (B,) of texts and their numbers of words (B,)."""
        self.total += reconstruction.double().sum()
        self.words += words.double().sum()

    def compute(self) -> Tensor:
        return (self.total / self.words).exp().float()


class TopicMetrics(nn.Module):
    """Validation and test metrics of a topic model.

    | name | what |
    |---|---|
    | perplexity | see `Perplexity`; of the words that the model knows |
    | coherence | see `npmi`, mean over the topics, on the training texts |
    | diversity | see `diversity` |
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict()
        for split in ("val", "test"):
            self.metrics[f"{split}_perplexity"] = Perplexity()
            self.metrics[f"{split}_coherence"], self.metrics[f"{split}_diversity"] = MeanMetric(), MeanMetric()

    def update(self, split: str, values: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Metric]:
        """Adds the values of a batch by name and returns those metrics; none in "train"."""
        found: dict[str, Metric] = {}
        for name, value in values.items():
            if (key := f"{split}_{name}") in self.metrics:
                metric = self.metrics[key]
                assert isinstance(metric, Metric)
                metric.update(*value)
                found[name] = metric
        return found
