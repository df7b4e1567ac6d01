"""The kinds of sparse codes: how features choose their atoms.

TopK: Gao et al.: "Scaling and evaluating sparse autoencoders", ICLR 2025, arXiv 2406.04093. BatchTopK: Bussmann, Leask,
Nanda, 2024, arXiv 2412.06410. JumpReLU: Rajamanoharan et al., 2024, arXiv 2407.14435. Matching pursuit: Costa et al.:
"From Flat to Hierarchical", NeurIPS 2025, arXiv 2506.03093. Semi-NMF: Ding, Li, Jordan: "Convex and Semi-Nonnegative
Matrix Factorizations", TPAMI 2010; of activations: Shafran, Geiger, Geva, 2025, arXiv 2506.10920.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from zoo.concepts.layers.chosen_atoms import Chosen, with_gradient
from zoo.concepts.layers.non_negative import non_negative_codes
from zoo.concepts.layers.sparse_codes import CodeOptions, Dictionary
from zoo.utils.functional import at_least_fp32

MOMENTUM = 0.99  # of the running threshold of BatchTopK
FIRST_THRESHOLD = 0.1  # of JumpReLU; from the published 0.001, short trainings do not reach sparse codes
PENALISED = {"reconstruction": "error", "sparsity": "penalty"}  # losses of kinds without revival, see `Dictionary`


class Vanilla(Dictionary):
    """ReLU; the penalty is the sum of the code."""

    terms: ClassVar[Mapping[str, str]] = PENALISED

    def select(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        z = scores.relu()
        return z, z.sum(1)


class TopK(Dictionary):
    """The `active` largest scores, of which those above 0 count."""

    def choose(self, x: Tensor) -> Chosen:
        weight, bias, count = self.encoder.weight, self.encoder.bias, self.options.active
        with torch.no_grad():
            best = at_least_fp32(self.encoder(x)).topk(count, 1, sorted=False)
            rows = torch.arange(len(x), device=x.device).repeat_interleave(count)
            chosen = Chosen(rows, best.indices.flatten(), best.values.relu().flatten())
        return with_gradient(chosen, x, weight, bias)

    def select(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        best = scores.topk(self.options.active, 1)
        return torch.zeros_like(scores).scatter(1, best.indices, best.values.relu()), torch.zeros_like(scores[:, 0])


class BatchTopK(Dictionary):
    """In training the N · `active` largest scores of N vectors, in evaluation those above a threshold.

    Buffer: `threshold` (), running mean of the smallest score that is kept; -1 before any training.
    """

    threshold: Tensor

    def __init__(self, channels: int, options: CodeOptions) -> None:
        super().__init__(channels, options)
        self.register_buffer("threshold", torch.tensor(-1.0))

    def choose(self, x: Tensor) -> Chosen:
        with torch.no_grad():
            z = at_least_fp32(self.encoder(x)).relu()
            bound = z.flatten().topk(len(z) * self.options.active, sorted=False).values.min()
            self.threshold.copy_(torch.where(self.threshold < 0, bound, self.threshold.lerp(bound, 1 - MOMENTUM)))
            rows, columns = ((z >= bound) & (z > 0)).nonzero(as_tuple=True)
            chosen = Chosen(rows, columns, z[rows, columns])
        return with_gradient(chosen, x, self.encoder.weight, self.encoder.bias)

    def select(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        z = scores.relu()
        return z * (z >= self.threshold), torch.zeros_like(scores[:, 0])


class JumpReLU(Dictionary):
    """Scores above a threshold θ of each atom; the penalty is the number of atoms in use.

    The step 1[score > θ] has the gradient -1[|score - θ| < ε / 2] / ε with respect to θ, ε the bandwidth.
    """

    terms: ClassVar[Mapping[str, str]] = PENALISED

    def __init__(self, channels: int, options: CodeOptions) -> None:
        super().__init__(channels, options)
        self.log_threshold = nn.Parameter(torch.full((options.atoms,), FIRST_THRESHOLD).log())

    def select(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        threshold, width = at_least_fp32(self.log_threshold).exp(), self.options.bandwidth
        above = (scores > threshold).to(scores)
        near = ((scores - threshold).abs() < width / 2).to(scores)
        step = -near / width * (threshold - threshold.detach())  # 0, with the gradient of the step
        return scores * above + threshold.detach() * step, (above + step).sum(1)


class MatchingPursuit(Dictionary):
    """`active` times: the atom that has the largest product with what is left takes its share of it.

    There is no encoder. What is left is orthogonal to the atom chosen last, and never grows.
    """

    def _make_encoder(self, channels: int) -> None:
        pass

    def encode(self, x: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        products, between = x @ atoms.T, atoms @ atoms.T
        z = torch.zeros_like(products)
        for _ in range(self.options.active):
            value, chosen = products.max(1)
            value = value.relu()[:, None]
            z = z.scatter_add(1, chosen[:, None], value)
            products = products - value * between[chosen]
        return z, torch.zeros_like(x[:, 0]), products


class SemiNMF(Dictionary):
    """The best code of at least 0, less a penalty: argmin over z >= 0 of ½ ‖x - z D‖² + `shrink` · Σ z.

    There is no encoder. A training step alternates, as the published algorithm does: codes for the atoms as they are,
    then a step of the atoms for these codes, through which no gradient goes.

    Differs from the published algorithm: the atoms take a gradient step for each batch (there: least squares over all
    rows, which must fit in memory), and are not cut to 1 % of their entries; an unseen row gets its own best code
    (there: a product with each atom).
    """

    def _make_encoder(self, channels: int) -> None:
        pass

    def encode(self, x: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            z = non_negative_codes(x, atoms, self.options.shrink)
            scores = (x - z @ atoms) @ atoms.T
        return z, torch.zeros_like(x[:, 0]), scores


KINDS: Mapping[str, type[Dictionary]] = {
    "vanilla": Vanilla,
    "topk": TopK,
    "batch_topk": BatchTopK,
    "jumprelu": JumpReLU,
    "mp": MatchingPursuit,
    "snmf": SemiNMF,
}


def make_dictionary(channels: int, options: CodeOptions) -> Dictionary:
    """The dictionary of `options.kind` for vectors of length `channels`."""
    return KINDS[options.kind](channels, options)
