"""Impurity of concept representations: information about concepts other than their own.

Espinosa Zarlenga, Barbiero, Shams, Kazhdan, Bhatt, Weller, Jamnik: "Towards Robust Metrics for Concept
Representation Evaluation", AAAI 2023, arXiv 2301.10367.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.metrics.concepts.pooled import Pooled, check_representation
from zoo.metrics.concepts.probes import fit_probes, run_probes, split_rows, standardise
from zoo.utils.functional import area_under_roc

BLOCK = 2**24  # values computed at a time


class Impurity(Pooled):
    """Base class of the two impurity scores: stores the data and splits it for the probes.

    Args:
        epochs: of the training of probes.
        batch: rows of a batch.
        lr: learning rate.
        seed: of the split (80 % to train probes, 20 % to evaluate them), the initial weights and the batches.
        average: return one number instead of (k,).
    """

    higher_is_better = False
    average: bool

    def __init__(
        self, epochs: int = 50, batch: int = 512, lr: float = 0.01, seed: int = 0, average: bool = True
    ) -> None:
        super().__init__("representation", "concepts")
        self.epochs, self.batch, self.lr, self.seed, self.average = epochs, batch, lr, seed, average

    def update(self, representation: Tensor, concepts: Tensor) -> None:
        """Adds a scalar or a vector per concept, (B, k) or (B, k, m), and labels (B, k) in {0, 1, NaN}.

        Raises:
            ValueError: wrong shapes or labels, or representations that are not finite.
        """
        check_representation(representation, concepts, type(self).__name__)
        self.keep(representation=representation, concepts=concepts)

    def split(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Representations (N, k, m), labels (N, k), and the row numbers for training and evaluation."""
        representation, concepts = self.pooled()
        if len(concepts) < 10:
            raise ValueError(f"{type(self).__name__} needs at least 10 rows to split; got {len(concepts)}.")
        train, test = (part.to(concepts.device) for part in split_rows(len(concepts), self.seed))
        return representation.reshape(*concepts.shape, -1).float(), concepts.float(), train, test


class OracleImpurity(Impurity):
    """Oracle impurity score (OIS): do representations predict other concepts better than the true concepts do?

        π_ij  test AUC of a network (one hidden layer of 32) from representation i to concept j
        O_ij  the same from the true concept i
        OIS = ‖O - π‖_F / (k / 2) = 2 · root mean square of O - π;  0 is pure, 1 is worst

    Section 4.1 of the paper. π_ii is estimated and O_ii is 1, so a badly predicted concept looks impure;
    `diagonal=False` excludes i = j, and divides by √(k (k - 1)) / 2. A concept with only one label among the test rows
    is excluded.

    Differs from the published code: π and O use the same split, and all randomness is seeded; inputs are standardised;
    the k networks of π (each with k outputs, as in the CEM library) are trained in parallel; the learning rate is 0.01
    instead of 0.001, because 50 epochs on few rows are not enough for the networks to converge at 0.001.

    Args:
        diagonal: include the prediction of a concept from its own representation.
        options: see `Impurity`; if `average` is False, the result is the root mean square of each row i.
    """

    title, chance = "oracle impurity (OIS)", 0.0

    def __init__(self, diagonal: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.diagonal = diagonal

    def compute(self) -> Tensor:
        """OIS, or (k,) if `average` is False."""
        return oracle_impurity(self.gaps(), self.diagonal, self.average)

    def gaps(self) -> Tensor:
        """(k, k) O - π; NaN for a concept with only one label among the test rows."""
        representation, concepts, train, test = self.split()
        found, oracle = (self.areas(x, concepts, train, test) for x in (representation, concepts[..., None]))
        own = torch.eye(len(found), dtype=torch.bool, device=found.device)
        return oracle.masked_fill(own & oracle.isfinite(), 1.0) - found

    def areas(self, inputs: Tensor, concepts: Tensor, train: Tensor, test: Tensor) -> Tensor:
        """(k, k) test AUC of concept j predicted from inputs (N, k, d) of concept i."""
        inputs = standardise(inputs, train).transpose(0, 1)
        layers = fit_probes(inputs[:, train], concepts[train], (32,), self.epochs, self.batch, self.lr, self.seed)
        logits, labels = run_probes(layers, inputs[:, test]), concepts[test]
        some = max(1, BLOCK // labels.numel())
        parts = [
            area_under_roc(block.transpose(0, 1).flatten(1), labels.repeat(1, len(block)))
            for block in logits.split(some)
        ]
        return torch.cat(parts).view(len(inputs), -1)


def oracle_impurity(gaps: Tensor, diagonal: bool = True, average: bool = True) -> Tensor:
    """OIS from gaps O - π (k, k), or (k,) for each row if `average` is False; see `OracleImpurity`."""
    own = torch.eye(len(gaps), dtype=torch.bool, device=gaps.device)
    squares = (gaps if diagonal else gaps.masked_fill(own, torch.nan)).square()
    return 2 * (squares.nanmean() if average else squares.nanmean(1)).sqrt()


class NicheImpurity(Impurity):
    """Niche impurity score (NIS): can a concept be predicted without the representations that correlate with it?

        ν_ij    largest |correlation| of concept j with a dimension of representation i
        N_j(β)  the niche {i: ν_ij > β}
        NIS   = ∫₀¹ mean_j AUC_j(β) dβ, for a network (two hidden layers of 20) that is trained on all representations
                and tested with those in N_j(β) hidden;  0.5 is pure

    Section 4.2 of the paper. It also increases if the true concepts are correlated (compare with the NIS of the true
    labels), and if a representation is pure but noisy, because nothing is hidden above β = max_i ν_ij.

    Differs from the published code, whose evaluation of (B, k, m) arrays hides the dimensions outside of the niche and
    treats dimensions as concepts: here the niche is hidden, representation by representation; absolute correlations
    are used; the integral goes to 1 (midpoint rule) instead of 0.95; hidden inputs are set to the training mean.

    Args:
        steps: number of values of β.
        options: see `Impurity`; if `average` is False, the result is the integral of each concept.
    """

    title, chance = "niche impurity (NIS)", 0.5

    def __init__(self, steps: int = 20, **options: Any) -> None:
        super().__init__(**options)
        self.steps = steps

    def compute(self) -> Tensor:
        """NIS, or (k,) if `average` is False."""
        representation, concepts, train, test = self.split()
        inputs = standardise(representation, train).flatten(1)  # (N, k m), representation by representation
        layers = fit_probes(inputs[None, train], concepts[train], (20, 20), self.epochs, self.batch, self.lr, self.seed)
        niche = correlation(inputs[train], concepts[train]).abs().unflatten(0, (concepts.shape[1], -1)).amax(1)
        width = representation.shape[2]
        areas = torch.zeros(concepts.shape[1], dtype=torch.float64, device=concepts.device)
        for step in range(self.steps):
            shown = (niche <= (step + 0.5) / self.steps).repeat_interleave(width, 0)  # (k m, k)
            areas += area_under_roc(masked_logits(layers, inputs[test], shown), concepts[test]) / self.steps
        return areas.nanmean() if self.average else areas


def correlation(inputs: Tensor, labels: Tensor) -> Tensor:
    """(d, k) Pearson correlation of inputs (N, d) with labels (N, k), over the rows with known labels.

    0 if the input or the label is constant on these rows.
    """
    known, x = labels.isfinite().double(), inputs.double()
    truth, count = labels.double().nan_to_num(0.0), known.sum(0).clamp_min(1)
    mean, mean_label = x.T @ known / count, truth.sum(0) / count
    spread = (x.square().T @ known / count - mean.square()).clamp_min(0)
    spread_label = (truth.square().sum(0) / count - mean_label.square()).clamp_min(0)
    both = (spread * spread_label).sqrt()
    return ((x.T @ truth / count - mean * mean_label) / both).where(both > 1e-12, 0.0)


def masked_logits(layers: list[tuple[Tensor, Tensor]], inputs: Tensor, shown: Tensor) -> Tensor:
    """(N, k) logit of concept j from the inputs (N, d) selected by shown[:, j] (d, k), by one network."""
    (first, first_bias), *middle, (last, last_bias) = [(weight[0], bias[0]) for weight, bias in layers]
    parts = []
    for mask, out, bias in zip(
        *(
            t.split(max(1, BLOCK // (first.numel() + len(inputs) * first.shape[1])), 1)
            for t in (shown, last, last_bias)
        ),
        strict=True,
    ):
        weight = (mask[:, :, None] * first[:, None]).flatten(1)  # hiding an input is equivalent to zeroing its weights
        hidden = F.relu((inputs @ weight).unflatten(1, (-1, first.shape[1])) + first_bias)  # (N, some, width)
        for inner, inner_bias in middle:
            hidden = F.relu(hidden @ inner + inner_bias)
        parts.append((hidden * out.T).sum(2) + bias)
    return torch.cat(parts, 1)
