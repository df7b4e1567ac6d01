"""Entropy-based networks: one small network per class, with an attention to concepts of low entropy (LEN).

Barbiero et al.: "Entropy-based Logic Explanations of Neural Networks", AAAI 2022, arXiv 2106.06804, section 3.1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

KEPT = 0.5  # smallest attention, relative to the largest one, of a concept in the formula


class EntropyHead(nn.Module):
    """Networks of C classes over k concepts, computed together: (B, k) to (B, C).

    Args:
        concepts: k.
        classes: C.
        hidden: hidden neurons of each class.
        temperature: τ of the attention to concepts.
    """

    def __init__(self, concepts: int, classes: int, hidden: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(classes, hidden, concepts).uniform_(-1, 1) * concepts**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes, hidden))
        self.out = nn.Parameter(torch.empty(classes, hidden).uniform_(-1, 1) * hidden**-0.5)
        self.offset = nn.Parameter(torch.zeros(classes))

    def _log_attention(self) -> Tensor:
        return (self.weight.abs().sum(1) / self.temperature).log_softmax(1)

    def attention(self) -> Tensor:
        """Attention α (C, k) divided by its largest value, in [0, 1]."""
        log = self._log_attention()
        return (log - log.amax(1, keepdim=True)).exp()

    def kept(self) -> Tensor:
        """Concepts (C, k) that the formula of a class may use, bool."""
        return self.attention() > KEPT

    def entropy(self) -> Tensor:
        """Mean entropy of α over classes, a scalar in nats."""
        log = self._log_attention()
        return -(log.exp() * log).sum(1).mean()

    def forward(self, concepts: Tensor) -> Tensor:
        scaled = self.weight * self.attention()[:, None]
        hidden = F.leaky_relu(torch.einsum("bk,chk->bch", concepts, scaled) + self.bias)
        return (hidden * self.out).sum(2) + self.offset
