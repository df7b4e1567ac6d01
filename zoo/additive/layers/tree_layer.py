"""Soft oblivious trees, each of which reads one column of a table or two."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.domain import TableDomain
from zoo.networks.entmax import entmax15, entmoid15
from zoo.networks.feature_networks import column_support

SOFT = 0.1  # share of the values for which a split is not yet decided, at the start
LEAST = 1e-3  # temperature at the start
NEVER = -20.0  # the logit of columns that a tree may not choose


class TreeLayer(nn.Module):
    """T trees of depth D, whose splits read one chosen column (P = 1) or take turns between two (P = 2).

        s_p = entmax15(logits_p / temperature) over columns, or the one-hot vector of the largest
        z_p = Σ_k s_pk value_k + Σ_e w_e h_e,  divided by the sum of all weights
        w_e = overlap of the columns of this tree with those of an earlier tree e, whose outputs are h_e
        split d: entmoid15((z - threshold_d) exp(-log_temperature_d));   output: the mixture of 2^D responses

    With one-hot choices w_e is 1 if tree e reads the same columns, else 0, so that a tree is a function of its columns
    alone. The value of a category or a missing code is a learned number of each tree.

    Args:
        domain: of the table.
        trees: T.
        depth: D.
        slots: P.
        outputs: C', numbers that each tree gives.
        share: of the columns, drawn at random, among which each tree chooses.
    """

    allowed: Tensor
    place: Tensor
    number: Tensor

    def __init__(self, domain: TableDomain, trees: int, depth: int, slots: int, outputs: int, share: float) -> None:
        super().__init__()
        columns, inputs = len(domain.layout), len(domain.features)
        self.depth, self.slots = depth, slots
        self.logits = nn.Parameter(torch.rand(columns, trees, slots))
        self.codes = nn.Parameter(torch.randn(inputs, trees))
        self.thresholds = nn.Parameter(torch.randn(trees, depth))
        self.log_temperatures = nn.Parameter(torch.ones(trees, depth))
        self.response = nn.Parameter(torch.randn(trees, outputs, 2**depth))
        candidates = min(max(math.ceil(share * columns), slots), columns)
        self.register_buffer("allowed", torch.rand(columns, trees).argsort(0).argsort(0) < candidates)
        place = column_support(domain.slices, [(k,) for k in range(columns)])
        self.register_buffer("place", place, persistent=False)  # (K, F)
        number = torch.zeros(inputs, dtype=torch.bool)
        for column, block in zip(domain.layout, domain.slices, strict=True):
            number[block.start] = column.numeric
        self.register_buffer("number", number, persistent=False)  # (F,) inputs that are numbers

    def choice(self) -> Tensor:
        """(T, P): the column that each slot prefers."""
        return self.logits.masked_fill(~self.allowed[:, :, None], NEVER).argmax(0)

    def choose(self, choice: Tensor) -> None:
        """Makes (T, P) the preferred columns."""
        self.allowed.scatter_(0, choice.T, True)
        self.logits.fill_(-1.0).scatter_(0, choice[None], 1.0)

    def selectors(self, temperature: float | None) -> Tensor:
        """(K, T, P) weights of the columns, which sum to 1; one-hot without a temperature."""
        if temperature is None:
            return F.one_hot(self.choice(), len(self.logits)).movedim(2, 0).to(self.logits.dtype)
        return entmax15(self.logits.masked_fill(~self.allowed[:, :, None], NEVER) / temperature, 0)

    def read(self, x: Tensor, selectors: Tensor, outputs: Tensor, earlier: Tensor) -> Tensor:
        """What the splits compare with their thresholds, (B, T, D).

        Args:
            x: (B, F) inputs.
            selectors: (K, T, P) of these trees.
            outputs: (B, E, C') of earlier trees.
            earlier: (K, E, P) their selectors.
        """
        values = torch.where(self.number[:, None], 1.0, self.codes)[:, :, None]
        weight = torch.einsum("kf,ktp->ftp", self.place, selectors) * values
        same = overlap(earlier, selectors)  # (E, T)
        z = torch.einsum("bf,ftp->btp", x, weight) + torch.einsum("bec,et->bt", outputs, same)[:, :, None]
        z = z / (1 + outputs.shape[2] * same.sum(0))[:, None]
        return z[:, :, torch.arange(self.depth, device=x.device) % self.slots]

    def forward(self, x: Tensor, selectors: Tensor, outputs: Tensor, earlier: Tensor) -> Tensor:
        """Outputs (B, T, C'); arguments as of `read`."""
        z = self.read(x, selectors, outputs, earlier)
        right = entmoid15((z - self.thresholds) * (-self.log_temperatures).exp())  # (B, T, D)
        leaves = torch.ones_like(right[:, :, :1])
        for d in range(self.depth):
            side = right[:, :, d, None]
            leaves = torch.cat([leaves * side, leaves * (1 - side)], 2)  # (B, T, 2^(d + 1))
        return torch.einsum("btl,tcl->btc", leaves, self.response)

    def fit_splits(self, z: Tensor) -> None:
        """Puts thresholds at random different values (N, T, D), the nearest `SOFT` of which are between both sides."""
        for t in range(z.shape[1]):
            for d in range(self.depth):
                values = z[:, t, d].unique()
                threshold = values[torch.randint(len(values), (), device=z.device)]
                near = (values - threshold).abs().sort().values[int(SOFT * (len(values) - 1))]
                self.thresholds[t, d], self.log_temperatures[t, d] = threshold, near.clamp_min(LEAST).log()


def overlap(earlier: Tensor, selectors: Tensor) -> Tensor:
    """How much earlier trees (K, E, P) read the same columns as trees (K, T, P): (E, T), 1 for the same, 0 for others.

    Of pairs: the overlap in this order of the columns plus that in the other, at most 1.
    """
    between = torch.einsum("kep,ktq->etpq", earlier, selectors)
    if between.shape[2] == 1:
        return between[:, :, 0, 0]
    straight, crossed = between[:, :, 0, 0] * between[:, :, 1, 1], between[:, :, 0, 1] * between[:, :, 1, 0]
    return (straight + crossed).clamp_max(1)
