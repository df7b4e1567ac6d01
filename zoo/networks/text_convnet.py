"""An encoder of texts that reads each word with its neighbours only: convolutions over word vectors."""

from collections.abc import Sequence
from functools import reduce
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import TextDomain
from zoo.domain.text import PAD
from zoo.networks.base import StateEncoder
from zoo.networks.receptive_field import ReceptiveField
from zoo.networks.text_encoders import masked_mean


class TextConvNet(StateEncoder):
    """Convolutions over words, averaged over positions: token numbers (B, T) to (B, `channels`).

    The state of a word depends on the words within Σ (kernel - 1) / 2 places of it only, and padding changes nothing.

    Args:
        domain: of the texts.
        widths: of the word vectors, then of each convolution; the last one is `channels`.
        kernels: length of each convolution's kernel, in words; [] for the word vectors alone.
        dropout: dropout probability during training, in [0, 1).

    Raises:
        ValueError: not one kernel less than widths, a number below 1, or a dropout out of range.
    """

    def __init__(
        self, domain: TextDomain, widths: Sequence[int] = (64, 64), kernels: Sequence[int] = (5,), dropout: float = 0.3
    ) -> None:
        super().__init__()
        if len(widths) != len(kernels) + 1 or min(*widths, *kernels, 1) < 1 or not 0 <= dropout < 1:
            raise ValueError(
                "expected widths of the word vectors and of each convolution, a kernel for each convolution, all at "
                f"least 1, and dropout in [0, 1); got widths {list(widths)}, kernels {list(kernels)}, dropout "
                f"{dropout}."
            )
        self.embedding = nn.Embedding(domain.size, widths[0], padding_idx=PAD)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.ModuleList(nn.Conv1d(a, b, k) for (a, b), k in zip(pairwise(widths), kernels, strict=True))
        self.channels, self.kernels = widths[-1], tuple(kernels)
        self.receptive_field = reduce(lambda f, k: f.then(k, 1, (k - 1) // 2), kernels, ReceptiveField())

    def states(self, x: Tensor) -> Tensor:
        words = (x != PAD)[:, None]
        h = self.drop(self.embedding(x)).mT
        for layer, kernel in zip(self.layers, self.kernels, strict=True):
            h = layer(F.pad(h * words, ((kernel - 1) // 2, kernel // 2)))
            h = self.drop(h.relu())
        return h.mT

    def forward(self, x: Tensor) -> Tensor:
        return masked_mean(self.states(x), x != PAD)
