"""Sparse codes of feature vectors over a learned dictionary: the frame that all kinds share.

Gao et al.: "Scaling and evaluating sparse autoencoders", ICLR 2025, arXiv 2406.04093. The kinds are in
`zoo.concepts.layers.code_kinds`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.archetypes import ROWS_EACH, Archetypes
from zoo.concepts.layers.chosen_atoms import Chosen
from zoo.utils.checks import check_above, check_at_least, check_between, check_choice
from zoo.utils.functional import at_least_fp32

KINDS = ("vanilla", "topk", "batch_topk", "jumprelu", "mp", "snmf")
COUNTED = ("topk", "batch_topk", "mp")  # kinds with a number of active atoms
OF_ANY_LENGTH = ("topk", "batch_topk", "jumprelu")  # kinds that do not rely on atoms of unit length


@dataclass(frozen=True)
class CodeOptions:
    """How a feature vector becomes a sparse code.

    Raises:
        ValueError: an unknown kind, or a number out of range.
    """

    kind: Literal["vanilla", "topk", "batch_topk", "jumprelu", "mp", "snmf"] = "topk"
    """"vanilla": ReLU and an L1 penalty; "topk": the `active` largest; "batch_topk": `active` for each on average
    of a batch, in evaluation those above a fixed threshold; "jumprelu": those above a learned threshold of each atom;
    "mp": `active` steps of matching pursuit; "snmf": the best code without negative entries (semi-NMF)."""
    atoms: int = 256
    """m, atoms of the dictionary."""
    active: int = 8
    """Atoms for each vector, of the kinds "topk", "batch_topk" and "mp"."""
    bandwidth: float = 0.05
    """Of the kernel that gives the thresholds of "jumprelu" a gradient; the vectors have a mean square norm of 1.
    Published: 0.001, for trainings on billions of vectors."""
    dead_after: int = 10
    """Atoms that no vector of so many training steps used are dead; the loss "auxiliary" revives them."""
    shrink: float = 0.05
    """Of the kind "snmf": penalty on the sum of a code; the vectors have a mean square norm of 1."""
    archetypes: int = 0
    """c: atoms are mixtures of c typical training vectors, so that other seeds give much the same atoms; of the kinds
    "topk", "batch_topk" and "jumprelu". 0: atoms are free. See `zoo.concepts.layers.archetypes.Archetypes`."""
    deviation: float = 0.1
    """How far an atom may lie from the mixture of archetypes; the vectors have a mean square norm of 1."""
    common: float = 0.0
    """Of paired data, such as texts and their counterfactuals: share of the atoms, the first ones, for what both of a
    pair have in common; the others are for what differs, see `zoo.concepts.layers.paired`. 0: pairs are not read."""
    source: str | None = None
    """Folder of a trained dictionary to start from, in the layout of SAELens, see `zoo.concepts.read_dictionary`. The
    other options must be those of the file; a stage that trains the code is not needed then."""

    def __post_init__(self) -> None:
        check_choice(KINDS, kind=self.kind)
        check_at_least(1, atoms=self.atoms, active=self.active, dead_after=self.dead_after)
        check_at_least(0, archetypes=self.archetypes, shrink=self.shrink, deviation=self.deviation)
        check_above(0, bandwidth=self.bandwidth)
        check_between(0, 1, common=self.common)
        if self.kind in COUNTED and self.active > self.atoms:
            raise ValueError(f"active must be at most atoms, {self.atoms}; got {self.active}.")
        if self.archetypes and (self.kind not in OF_ANY_LENGTH or self.source):
            what = f"a dictionary of {self.source}" if self.source else f"the kind {self.kind}"
            raise ValueError(f"archetypes are for new dictionaries of {', '.join(OF_ANY_LENGTH)}, not {what}.")


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
        f̂ = z D + b, b = mean + scale · offset   rows of D normalised at each use, or made of archetypes

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
        self.archetypes = None
        if options.archetypes:
            self.archetypes = Archetypes(options.atoms, options.archetypes, channels, options.deviation)
            nn.init.zeros_(self.weight)
        self._make_encoder(channels)

    def _make_encoder(self, channels: int) -> None:
        self.encoder = nn.Linear(channels, self.options.atoms)
        nn.init.zeros_(self.encoder.bias)
        with torch.no_grad():
            self.encoder.weight.copy_(self.weight if self.archetypes is None else self.atoms)

    @property
    def atoms(self) -> Tensor:
        """D (m, d): rows of unit length; atoms of archetypes have the length of the mixture, about 1 or less."""
        if self.archetypes is not None:
            return self.archetypes(at_least_fp32(self.weight))
        return F.normalize(at_least_fp32(self.weight), dim=1)

    @property
    def bias(self) -> Tensor:
        """The vector b (d), what a code of zeros stands for."""
        return self.mean + self.scale * at_least_fp32(self.offset)

    @torch.no_grad()
    def centre(self, mean: Tensor, scale: Tensor) -> None:
        """Sets the mean (d) of the training features, and the root of their mean squared distance () from it."""
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp_min(1e-12))

    @property
    def wanted_rows(self) -> int:
        """Number of feature vectors that `start` reads."""
        return self.options.archetypes * ROWS_EACH

    @torch.no_grad()
    def start(self, features: Tensor) -> None:
        """Finds the archetypes among centred training features (N, d) in random order, and starts from them."""
        if self.archetypes is not None:
            self.archetypes.place((at_least_fp32(features) - self.mean) / self.scale)
            self.encoder.weight.copy_(self.atoms)

    def forward(self, features: Tensor) -> Coded:
        """Codes feature vectors (N, d); in training also notes which atoms are used."""
        atoms, x = self.atoms, (at_least_fp32(features) - self.mean) / self.scale - self.offset
        chosen = self.choose(x) if self.training else None
        if chosen is None:
            z, penalty, scores = self.encode(x, atoms)
            left, code, used = x - z @ atoms, self.scale * z, z.detach() > 0
        else:
            penalty, scores, used = torch.zeros_like(x[:, 0]), None, chosen
            left = x - chosen.combine(atoms, len(x))
            code = chosen._replace(values=self.scale * chosen.values).dense((len(x), len(atoms)))
        auxiliary = left.new_zeros(())
        if self.training:
            self._note_use(used)
            if "auxiliary" in self.terms:
                auxiliary = self._revive(left.detach(), x, scores, atoms)
        return Coded(code, left.square().sum(1), penalty, auxiliary)

    @torch.no_grad()
    def _note_use(self, used: Tensor | Chosen) -> None:
        """Counts a training step for atoms that no vector used: (N, m) bool, or the entries of the codes."""
        self.idle.add_(1)
        if isinstance(used, Tensor):
            self.idle.masked_fill_(used.any(0), 0)
        else:
            self.idle.index_fill_(0, used.columns[used.values > 0], 0)

    def choose(self, x: Tensor) -> Chosen | None:
        """The entries of the codes of centred vectors (N, d), with gradients; None of a kind that needs all scores."""
        return None

    def encode(self, x: Tensor, atoms: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes (N, m) of centred vectors (N, d), their penalty (N,), and the scores (N, m) that choose the atoms."""
        scores = at_least_fp32(self.encoder(x))
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
            own = at_least_fp32(F.linear(x, self.encoder.weight[dead], self.encoder.bias[dead]))
        else:
            own = scores[:, dead]
        best = own.topk(min(max(left.shape[1] // 2, 1), len(dead)), 1)
        z = torch.zeros_like(own).scatter(1, best.indices, best.values.relu())
        return (left - z @ atoms[dead]).square().sum() / left.square().sum().clamp_min(1e-12)
