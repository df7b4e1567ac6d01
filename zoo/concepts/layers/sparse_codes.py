"""Sparse codes of feature vectors over a learned dictionary; one class for each kind of code.

Frame and TopK: Gao et al.: "Scaling and evaluating sparse autoencoders", ICLR 2025, arXiv 2406.04093. BatchTopK:
Bussmann, Leask, Nanda, 2024, arXiv 2412.06410. JumpReLU: Rajamanoharan et al., 2024, arXiv 2407.14435. Matching
pursuit: Costa et al.: "From Flat to Hierarchical", NeurIPS 2025, arXiv 2506.03093.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.chosen_atoms import Chosen, with_gradient
from zoo.utils.checks import check_above, check_at_least, check_choice

MOMENTUM = 0.99  # of the running threshold of BatchTopK
FIRST_THRESHOLD = 0.1  # of JumpReLU; from the published 0.001, short trainings do not reach sparse codes
COUNTED = ("topk", "batch_topk", "mp")  # kinds with a number of active atoms
PENALISED = {"reconstruction": "error", "sparsity": "penalty"}  # losses of kinds without revival, see `Dictionary`


@dataclass(frozen=True)
class CodeOptions:
    """How a feature vector becomes a sparse code.

    Raises:
        ValueError: an unknown kind, or a number out of range.
    """

    kind: Literal["vanilla", "topk", "batch_topk", "jumprelu", "mp"] = "topk"
    """"vanilla": ReLU and an L1 penalty; "topk": the `active` largest; "batch_topk": `active` for each on average
    of a batch, in evaluation those above a fixed threshold; "jumprelu": those above a learned threshold of each atom;
    "mp": `active` steps of matching pursuit."""
    atoms: int = 256
    """m, atoms of the dictionary."""
    active: int = 8
    """Atoms for each vector, of the kinds "topk", "batch_topk" and "mp"."""
    bandwidth: float = 0.05
    """Of the kernel that gives the thresholds of "jumprelu" a gradient; the vectors have a mean square norm of 1.
    Published: 0.001, for trainings on billions of vectors."""
    dead_after: int = 100
    """Atoms that no vector of so many training steps used are dead; the loss "auxiliary" revives them."""
    source: str | None = None
    """Folder of a trained dictionary to start from, in the layout of SAELens, see `zoo.concepts.read_dictionary`. The
    other options must be those of the file; a stage that trains the code is not needed then."""

    def __post_init__(self) -> None:
        check_choice(KINDS, kind=self.kind)
        check_at_least(1, atoms=self.atoms, active=self.active, dead_after=self.dead_after)
        check_above(0, bandwidth=self.bandwidth)
        if self.kind in COUNTED and self.active > self.atoms:
            raise ValueError(f"active must be at most atoms, {self.atoms}; got {self.active}.")


@dataclass
class Coded:
    """The code of N feature vectors.

    Attributes:
        code: z (N, m), at least 0, in the unit of the features.
        error: (N,) squared error, relative to the variance of the training set.
        penalty: (N,) of the kinds "vanilla" (L1) and "jumprelu" (L0), else 0.
        auxiliary: (), squared error of what the dead atoms make of the error, relative to it; 0 without dead atoms.
    """

    code: Tensor
    error: Tensor
    penalty: Tensor
    auxiliary: Tensor


class Dictionary(nn.Module):
    """Atoms of unit length and an encoder: f ≈ z D + b with a sparse z >= 0.

        x = (f - mean) / scale - offset          scale: such that x has a mean square norm of 1
        z = scale · select(E x + e)              E starts as a copy of D, and does not share its memory
        f̂ = z D + b, b = mean + scale · offset   rows of D normalised at each use

    Buffers: `mean` (d) and `scale` (), see `centre` · `idle` (m), training steps since an atom was last used.

    Args:
        channels: d.
        options: see `CodeOptions`.
    """

    terms: ClassVar[Mapping[str, str]] = {"reconstruction": "error", "auxiliary": "auxiliary"}  # loss -> of `Coded`
    mean: Tensor
    scale: Tensor
    idle: Tensor

    def __init__(self, channels: int, options: CodeOptions) -> None:
        super().__init__()
        self.options = options
        self.weight = nn.Parameter(F.normalize(torch.randn(options.atoms, channels), dim=1))
        self.offset = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("idle", torch.zeros(options.atoms, dtype=torch.long))
        self._make_encoder(channels)

    def _make_encoder(self, channels: int) -> None:
        self.encoder = nn.Linear(channels, self.options.atoms)
        nn.init.zeros_(self.encoder.bias)
        with torch.no_grad():
            self.encoder.weight.copy_(self.weight)

    @property
    def atoms(self) -> Tensor:
        """D (m, d), rows of unit length."""
        return F.normalize(self.weight.float(), dim=1)

    @property
    def bias(self) -> Tensor:
        """The vector b (d), what a code of zeros stands for."""
        return self.mean + self.scale * self.offset.float()

    @torch.no_grad()
    def centre(self, mean: Tensor, scale: Tensor) -> None:
        """Sets the mean (d) of the training features, and the root of their mean squared distance () from it."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(1e-12))

    def forward(self, features: Tensor) -> Coded:
        """Codes feature vectors (N, d); in training also notes which atoms are used."""
        atoms, x = self.atoms, (features.float() - self.mean) / self.scale - self.offset
        chosen = self.choose(x) if self.training else None
        if chosen is None:
            z, penalty, scores = self.encode(x, atoms)
            left = x - z @ atoms
        else:
            z, penalty, scores = chosen.dense((len(x), len(atoms))), torch.zeros_like(x[:, 0]), None
            left = x - chosen.combine(atoms, len(x))
        auxiliary = left.new_zeros(())
        if self.training:
            with torch.no_grad():
                self.idle.add_(1).masked_fill_((z > 0).any(0), 0)
            if "auxiliary" in self.terms:
                auxiliary = self._revive(left.detach(), x, scores, atoms)
        return Coded(self.scale * z, left.square().sum(1), penalty, auxiliary)

    def choose(self, x: Tensor) -> Chosen | None:
        """The entries of the codes of centred vectors (N, d), with gradients; None of a kind that needs all scores."""
        return None

    def encode(self, x: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (N, m) of centred vectors (N, d), their penalty (N,), and the scores (N, m) that choose the atoms."""
        scores = self.encoder(x).float()
        z, penalty = self.select(scores)
        return z, penalty, scores

    def select(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (N, m) of scores (N, m), and their penalty (N,)."""
        raise NotImplementedError(f"{type(self).__name__} must define select() or encode().")

    def _revive(self, left: Tensor, x: Tensor, scores: Tensor | None, atoms: Tensor) -> Tensor:
        """The error of the dead atoms in coding what the others left (N, d): AuxK with d / 2 atoms."""
        dead = (self.idle >= self.options.dead_after).nonzero()[:, 0]
        if not len(dead):
            return left.new_zeros(())
        if scores is None:
            own = F.linear(x, self.encoder.weight[dead], self.encoder.bias[dead]).float()
        else:
            own = scores[:, dead]
        best = own.topk(min(max(left.shape[1] // 2, 1), len(dead)), 1)
        z = torch.zeros_like(own).scatter(1, best.indices, best.values.relu())
        return (left - z @ atoms[dead]).square().sum() / left.square().sum().clamp_min(1e-12)


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
            best = self.encoder(x).float().topk(count, 1, sorted=False)
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
            z = self.encoder(x).float().relu()
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
        threshold, width = self.log_threshold.float().exp(), self.options.bandwidth
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


KINDS: Mapping[str, type[Dictionary]] = {
    "vanilla": Vanilla,
    "topk": TopK,
    "batch_topk": BatchTopK,
    "jumprelu": JumpReLU,
    "mp": MatchingPursuit,
}


def make_dictionary(channels: int, options: CodeOptions) -> Dictionary:
    """The dictionary of `options.kind` for vectors of length `channels`."""
    return KINDS[options.kind](channels, options)
