"""Negative controls: explanations of a real model that are wrong by construction.

Each control passes some metrics; together the metrics must detect all of them.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.evidence import Unit
from zoo.core.explanation import Explanation
from zoo.core.reference import relative
from zoo.domain import GraphDomain
from zoo.metrics.faithfulness.elements import cells_of, element_shape
from zoo.metrics.faithfulness.graph_edges import edges_of
from zoo.metrics.faithfulness.subject import Subject


class Control(Subject):
    """A subject with the scores of another and corrupted explanations."""

    def __init__(self, subject: Subject) -> None:
        self.subject, self.name = subject, f"{type(self).__name__} of {subject.name}"
        self.model, self.domain = subject.model, subject.domain
        self.limit, self.additive, self.same_units = subject.limit, subject.additive, subject.same_units

    def scores(self, x: Tensor) -> Tensor:
        return self.subject.scores(x)


class Monolith(Control):
    """One unit per class, which is the score of the class and covers the whole input: a complete black box.

    It passes completeness, has one effective unit and never leaks, but does not localise the evidence.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.additive = True
        self.units = tuple(Unit(f"score of {name}", "score", c) for c, name in enumerate(subject.domain.classes))

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.subject.scores(x)
        target = scores.argmax(1) if target is None else target
        own = torch.nn.functional.one_hot(target, scores.shape[1]).to(scores)
        return Explanation(
            scores=scores,
            target=target,
            contributions=scores * own,
            bias=torch.zeros_like(scores[:, 0]),
            activation=scores,
            support=torch.ones(len(x), scores.shape[1], *(1 for _ in element_shape(self.domain)), device=x.device),
            units=self.units,
            domain=self.domain,
            inputs=x,
        )

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        scores = self.subject.scores(x)
        own = torch.nn.functional.one_hot(target, scores.shape[1]).to(scores)
        return scores * (own - 1 / scores.shape[1] if scores.shape[1] > 1 else own)


class RotatedBasis(Control):
    """The same readout in a random orthogonal basis R of the activations, (R h) (R W), which sums to the same score.

    Supports are mixed by the squares of R.

    Raises:
        ValueError: the model's scores are not linear in its activations.
    """

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        super().__init__(subject)
        self.units = ()
        self.seed = seed

    def basis(self, count: int) -> Tensor:
        """(K, K) orthogonal."""
        draw = torch.Generator().manual_seed(self.seed)
        return torch.linalg.qr(torch.randn(count, count, generator=draw, dtype=torch.float64))[0]

    @torch.no_grad()
    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        original = self.subject.explain(x, target)
        parts, activation = self._rotated(x)
        basis = self.basis(activation.shape[1]).to(activation)
        own = relative(parts, original.target, original.reference, original.runner_up)
        support = original.support
        if support is not None:
            grid = support.shape[2:]
            support = torch.einsum("vu,bvg->bug", basis.square().to(support), support.flatten(2))
            support = (support / support.amax(2, keepdim=True).clamp_min(1e-12)).unflatten(2, grid)
        units = tuple(Unit(f"direction {u + 1}", "direction") for u in range(len(basis)))
        bias = original.relative_score.to(own) - own.sum(1)
        return replace(
            original,
            contributions=own,
            bias=bias,
            activation=activation,
            support=support,
            units=units,
            edges=None,
            details={},
            alternatives={},
            statements=(),
        )

    @torch.no_grad()
    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        parts, _ = self._rotated(x)
        return relative(parts, target, "mean" if parts.shape[2] > 1 else "zero", None)

    def _rotated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K, C) contributions and (B, K) activations in the new basis."""
        evidence = self.model.step(x)[1]
        slopes = self.model.slopes(evidence)
        if slopes is None:
            raise ValueError(
                f"{self.subject.name} is not linear in its activations; this control needs a linear readout."
            )
        basis = self.basis(evidence.activation.shape[1]).to(evidence.activation)
        activation = evidence.activation @ basis
        return activation[..., None] * torch.einsum("vu,bvc->buc", basis, slopes.to(basis)), activation


class ShuffledSupports(Control):
    """The original units and numbers, but each unit has the support of another."""

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        super().__init__(subject)
        self.seed = seed

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        original = self.subject.explain(x, target)
        if original.support is None:
            return original
        return replace(original, support=original.support[:, shuffled(original.support.shape[1], self.seed)])

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        return self.subject.margins(x, target)


class ShuffledContributions(Control):
    """The original units and supports, but each unit has the contribution of another; the sum is unchanged."""

    def __init__(self, subject: Subject, seed: int = 0) -> None:
        super().__init__(subject)
        self.seed = seed

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        original = self.subject.explain(x, target)
        if (parts := original.contributions) is None:
            return original
        return replace(original, contributions=parts[:, shuffled(parts.shape[1], self.seed)], alternatives={})

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        margins = self.subject.margins(x, target)
        return margins[:, shuffled(margins.shape[1], self.seed)]


class EncoderCheat(Control):
    """One unit whose location encodes the class, whatever the input shows there.

    A selector can learn this (Jethani et al.: "Have We Learned to Explain?", AISTATS 2021). If evidence is removed but
    its shape stays visible, the location still reveals the label. Of graphs it is the first c + 1 edges for class c.
    """

    def __init__(self, subject: Subject) -> None:
        super().__init__(subject)
        self.additive = True
        self.units = (Unit("the selection", "group"),)

    def explain(self, x: Tensor, target: Tensor | None = None) -> Explanation:
        scores = self.subject.scores(x)
        target = scores.argmax(1) if target is None else target
        shape = element_shape(self.domain)
        if isinstance(self.domain, GraphDomain):
            edges = edges_of(x, self.domain)[0]
            chosen = F.pad(edges & (edges.cumsum(1) <= 1 + target[:, None]), (self.domain.nodes, 0)).to(scores)
        else:
            cell = cells_of((min(scores.shape[1], shape[0]),), shape).to(x.device)  # a strip for each class
            chosen = (cell == (target % (int(cell.max()) + 1))[:, None]).to(scores)
        own = scores.gather(1, target[:, None])
        return Explanation(
            scores=scores,
            target=target,
            contributions=own,
            bias=torch.zeros_like(own[:, 0]),
            activation=own,
            support=chosen.unflatten(1, shape)[:, None],
            units=self.units,
            domain=self.domain,
            inputs=x,
        )

    def margins(self, x: Tensor, target: Tensor) -> Tensor:
        scores = self.subject.scores(x)
        own = scores.gather(1, target[:, None])
        return own - scores.mean(1, keepdim=True) if scores.shape[1] > 1 else own


def shuffled(count: int, seed: int) -> Tensor:
    """(K,) a random permutation without fixed points, for K >= 2."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    moved = torch.empty_like(order)
    moved[order] = order.roll(1)
    return moved


CONTROLS = {
    "monolith": Monolith,
    "rotated basis": RotatedBasis,
    "shuffled supports": ShuffledSupports,
    "shuffled contributions": ShuffledContributions,
    "encoder cheat": EncoderCheat,
}
