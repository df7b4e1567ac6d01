"""The two halves of a neural topic model: from word counts to topics, and from topics to the chances of words.

Srivastava, Sutton: "Autoencoding Variational Inference for Topic Models", ICLR 2017, arXiv 1703.01488.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.checks import check_above
from zoo.utils.functional import at_least_fp32


class TopicEncoder(nn.Module):
    """The normal distribution of the logits of K topics given word counts: (B, V) to mean and log variance (B, K).

    Args:
        words: V.
        topics: K.
        widths: of the hidden layers.
        dropout: chance that a value of the last hidden layer is left out during training, in [0, 1).
        concentration: α of the symmetric Dirichlet prior, see `divergence`.

    Raises:
        ValueError: a width below 1, or a dropout or concentration out of range.
    """

    def __init__(self, words: int, topics: int, widths: Sequence[int], dropout: float, concentration: float) -> None:
        super().__init__()
        if not widths or min(widths) < 1 or not 0 <= dropout < 1:
            raise ValueError(f"expected widths of at least 1 and dropout in [0, 1); got {list(widths)} and {dropout}.")
        check_above(0, concentration=concentration)
        layers = [m for a, b in pairwise([words, *widths]) for m in (nn.Linear(a, b), nn.Softplus())]
        self.hidden = nn.Sequential(*layers, nn.Dropout(dropout))
        self.mean = nn.Sequential(nn.Linear(widths[-1], topics), nn.BatchNorm1d(topics))
        self.log_variance = nn.Sequential(nn.Linear(widths[-1], topics), nn.BatchNorm1d(topics))
        self.prior_variance = (1 - 1 / topics) / concentration

    def forward(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        h = self.hidden(counts)
        return at_least_fp32(self.mean(h)), at_least_fp32(self.log_variance(h))

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """KL divergence (B,) from the prior, in logits: a normal of mean 0 and variance (1 - 1 / K) / α.

        That is Laplace's approximation of the symmetric Dirichlet distribution.
        """
        ratio = (log_variance.exp() + mean.square()) / self.prior_variance
        return 0.5 * (ratio - 1 + math.log(self.prior_variance) - log_variance).sum(1)


class TopicDecoder(nn.Module):
    """The log chances of V words given shares of K topics, log softmax(BN(θ β) + background): (B, K) to (B, V).

    Args:
        topics: K.
        words: V.
    """

    def __init__(self, topics: int, words: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(topics, words))
        nn.init.xavier_uniform_(self.weight)
        self.background = nn.Parameter(torch.zeros(words))
        self.norm = nn.BatchNorm1d(words, affine=False)

    @torch.no_grad()
    def start(self, frequency: Tensor) -> None:
        """Starts from words that are as frequent (V,) as in the training texts, whatever the topic."""
        self.background.copy_(frequency.clamp_min(1e-8).log())

    def forward(self, theta: Tensor, used: Tensor) -> Tensor:
        """Log chances (B, V) for shares (B, K); about 0 chance where `used` (V,) is False."""
        return self._log_chances(self.norm(theta @ self.weight), used)

    def distributions(self, used: Tensor) -> Tensor:
        """The chances (K, V) of the words in a text of one topic alone."""
        mean, variance = self.norm.running_mean, self.norm.running_var
        return self._log_chances(F.batch_norm(self.weight, mean, variance, eps=self.norm.eps), used).exp()

    def _log_chances(self, logits: Tensor, used: Tensor) -> Tensor:
        logits = at_least_fp32(logits) + at_least_fp32(self.background)
        return logits.masked_fill(~used, -1e30).log_softmax(1)  # not -inf, which times a count of 0 is NaN
