"""Correlated concepts: Gaussian concept logits, what an answer says of the other concepts (SCBM).

Vandenhirtz, Laguna, Marcinkevičs, Vogt: "Stochastic Concept Bottleneck Models", NeurIPS 2024, arXiv 2406.19272,
sections 3.1 to 3.3.
"""

import math

import numpy
import torch
from scipy.stats import chi2  # SciPy comes with scikit-learn
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.core.counterfactual import MOVED, PRESENCE
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.domain import Domain
from zoo.utils.checks import check_choice
from zoo.utils.functional import at_least_fp32

COVARIANCES = ("amortized", "global")
ANSWERS = ("confidence", "percentiles")
NODES = 32  # of the quadrature
ITERATIONS, GAP = 25, 1e-9  # of the interior-point method: at most, and where it ends


class GaussianLogits(nn.Module):
    """Maps features (B, F) to the mean (B, k) and the Cholesky factor (B, k, k) of all concept logits.

    Args:
        features: F.
        concepts: k.
        covariance: "amortized" (a linear layer of the features) or "global" (one for all inputs).
    """

    def __init__(self, features: int, concepts: int, covariance: str) -> None:
        super().__init__()
        check_choice(COVARIANCES, covariance=covariance)
        self.count = concepts
        entries = concepts * (concepts + 1) // 2
        self.mean = nn.Linear(features, concepts)
        self.factor = nn.Linear(features, entries) if covariance == "amortized" else None
        if self.factor:
            self.factor.weight.data.mul_(0.01)  # near one covariance at first, as published
        else:
            self.entries = nn.Parameter(torch.zeros(entries))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        mean = at_least_fp32(self.mean(features))
        entries = at_least_fp32(self.factor(features) if self.factor else self.entries.expand(mean.shape[0], -1))
        rows, columns = torch.tril_indices(self.count, self.count, device=mean.device)
        factor = entries.new_zeros(mean.shape[0], self.count, self.count)
        factor[:, rows, columns] = torch.where(rows == columns, F.softplus(entries) + 1e-6, entries)
        return mean, factor


class Answers(nn.Module):
    """What is known of Gaussian concept logits after some of them are answered.

    An answered concept has its value, 0 or 1, and a logit η' that says so; the other logits follow their Gaussian
    given η'.

    | kind | η' of the concepts S with an answer |
    |---|---|
    | "percentiles" | logit(0.95) if present, logit(0.05) if absent |
    | "confidence" | the most certain logits within the confidence region of the prediction |

    "confidence" (section 3.3, equation 9): of all η' with (η' - μ)ᵀ Σ⁻¹ (η' - μ) <= the quantile of χ² with |S| degrees
    of freedom, none on the wrong side of μ, those of the smallest cross-entropy to the answers. For one answer this is
    μ ± sqrt(quantile Σ_ii). A value v between 0 and 1 moves its logit by |2 v - 1| of the way from μ.

    Args:
        concepts: k.
        kind: of η'.
        level: of the confidence region, in (0, 1).
    """

    quantiles: Tensor

    def __init__(self, concepts: int, kind: str, level: float) -> None:
        super().__init__()
        check_choice(ANSWERS, answers=kind)
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, both excluded; got {level}.")
        self.kind = kind
        found = [0.0, *(float(chi2.ppf(level, n)) for n in range(1, concepts + 1))]
        self.register_buffer("quantiles", torch.tensor(found), persistent=False)

    def conditional(self, mean: Tensor, factor: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, k) of the logits given answers (B, k) in [0, 1], NaN where there is none.

        Computed in float64. Answered concepts have the variance 0.
        """
        known = answers.isfinite()
        kind, mean, factor = mean.dtype, mean.double(), factor.double()
        covariance = factor @ factor.mT
        block = torch.where(known[:, :, None] & known[:, None], covariance, 0.0)
        block = block + torch.diag_embed((~known).double())
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(block))
        precision = torch.where(known[:, :, None] & known[:, None], inverse, 0.0)
        shift = self._shift(mean, covariance, precision, answers.double(), known)
        gain = covariance @ precision
        told = mean + (gain @ shift[..., None])[..., 0]
        variance = covariance.diagonal(dim1=1, dim2=2) - (gain * covariance).sum(2)
        return torch.where(known, mean + shift, told).to(kind), variance.clamp_min(0).masked_fill(known, 0.0).to(kind)

    def after_one(self, mean: Tensor, factor: Tensor, value: float) -> tuple[Tensor, Tensor]:
        """Mean and variance (B, k, k) of the logits (last axis) if one concept (second axis) alone is answered."""
        covariance = factor @ factor.mT
        spread = covariance.diagonal(dim1=1, dim2=2)
        if self.kind == "percentiles":
            shift = math.log(19) * (2 * value - 1) - mean
        else:
            shift = (2 * value - 1) * (self.quantiles[1] * spread).sqrt()
        gain = covariance / spread[..., None]
        variance = spread[:, None] - gain * covariance
        return mean[:, None] + gain * shift[..., None], variance.clamp_min(0)

    def _shift(self, mean: Tensor, covariance: Tensor, precision: Tensor, answers: Tensor, known: Tensor) -> Tensor:
        """η' - μ (B, k); 0 where there is no answer."""
        answers = answers.nan_to_num(0.5)
        side = 2 * answers - 1
        if self.kind == "percentiles":
            return torch.where(known, torch.logit(0.05 + 0.9 * answers) - mean, 0.0)
        sign = torch.where(side < 0, -1.0, 1.0).to(mean)
        size = known.sum(1)
        if int(size.max()) <= 1:
            return torch.where(known, side * (self.quantiles[1] * covariance.diagonal(dim1=1, dim2=2)).sqrt(), 0.0)
        bound = self.quantiles.to(mean)[size]
        distance = most_certain(mean * sign, precision * sign[:, :, None] * sign[:, None], known, bound)
        return torch.where(known, distance * side, 0.0)


class CorrelatedConcepts(AnnotatedConcepts):
    """Annotated concepts of which an answer to one moves all others.

    Args:
        domain: names the concepts.
        model: name of the model, for error messages.
        answers: what an answer does.
    """

    def __init__(self, domain: Domain, model: str, answers: Answers) -> None:
        super().__init__(domain, model)
        self.answers = answers

    def counterfactual_scores(self, model: SelfInterpretable, evidence: Evidence) -> Tensor:
        if "answers" in evidence.state:  # together with what is answered already
            return super().counterfactual_scores(model, evidence)
        every = self._after_one(evidence)
        return model.readout(Evidence(every.flatten(0, 2))).unflatten(0, every.shape[:3])

    def details(self, model: SelfInterpretable, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """Those of annotated concepts, and how much the other probabilities move in sum after the opposite answer."""
        before = self.probability(evidence)
        absent, present = (self._after_one(evidence) - before[:, None, None]).abs().unbind(1)  # (B, k, k)
        moved = torch.where(before[..., None] >= PRESENCE, absent, present)
        others = moved.sum(2) - moved.diagonal(dim1=1, dim2=2)
        return {**super().details(model, evidence, target), MOVED: others}

    def _after_one(self, evidence: Evidence) -> Tensor:
        """Activations (B, 2, k, k) if each concept (third axis), one at a time, is answered as absent or as present."""
        own, moved = torch.eye(self.count, device=evidence.activation.device), []
        for value in (0.0, 1.0):
            told = expected_sigmoid(*self.answers.after_one(evidence.state["mean"], evidence.state["factor"], value))
            moved.append(torch.where(own > 0, value, told))
        return torch.stack(moved, 1)


def most_certain(margin: Tensor, precision: Tensor, known: Tensor, bound: Tensor) -> Tensor:
    """The d >= 0 (B, k) with dᵀ P d <= bound that minimise Σ softplus(-(margin + d)) over the known entries.

    A convex problem whose bound is reached, solved for all rows together by a primal-dual interior-point method.

    Args:
        margin: (B, k), float64.
        precision: (B, k, k) P, positive definite on the known entries and 0 elsewhere.
        known: (B, k); d is 0 elsewhere.
        bound: (B,), positive where an entry is known.
    """
    ones = known.to(margin)
    bound = torch.where(known.any(1), bound, 1.0)
    precision = precision / bound[:, None, None]  # dᵀ P d = 1
    d, z, multiplier = ones, ones, torch.ones_like(bound)  # of d >= 0 and of the bound
    for _ in range(ITERATIONS):
        product = (precision @ d[..., None])[..., 0]
        length = (d * product).sum(1).clamp_min(1e-12).sqrt()[:, None]
        d, product = d / length, product / length  # back to the bound
        safe = torch.where(known, d, 1.0)
        gap = (z * d).sum(1) / ones.sum(1).clamp_min(1)
        if bool(gap.max() < GAP):
            break
        target = 0.1 * gap
        wrong = torch.sigmoid(-(margin + d))
        gradient = ones * (-wrong + 2 * multiplier[:, None] * product - target[:, None] / safe)
        curvature = torch.where(known, wrong * (1 - wrong) + z / safe, 1.0)
        hessian = torch.diag_embed(curvature) + 2 * multiplier[:, None, None] * precision
        sides = torch.stack([-gradient, product], 2)
        free, along = torch.cholesky_solve(sides, torch.linalg.cholesky(hessian)).unbind(2)
        change = (product * free).sum(1) / (product * along).sum(1).clamp_min(1e-300)  # keeps the step on the bound
        step = free - change[:, None] * along
        z_step = ones * (target[:, None] / safe - z - z / safe * step)
        multiplier_step = change / 2
        reach = torch.stack([_reach(d, step), _reach(z, z_step), _reach(multiplier[:, None], multiplier_step[:, None])])
        taken = (0.9 * reach.amin(0)).clamp_max(1.0)
        d, z = d + taken[:, None] * step, z + taken[:, None] * z_step
        multiplier = multiplier + taken * multiplier_step
    return d / torch.einsum("bi,bij,bj->b", d, precision, d).clamp_min(1e-12).sqrt()[:, None]


def _reach(value: Tensor, step: Tensor) -> Tensor:
    """How far (B,) positive values (B, n) can go along a step until one becomes 0."""
    return torch.where(step < 0, -value / step.clamp_max(-1e-300), torch.inf).amin(1)


def expected_sigmoid(mean: Tensor, variance: Tensor) -> Tensor:
    """E[sigmoid(η)] of η ~ N(mean, variance), any shape, by a Gauss-Hermite quadrature of 32 nodes."""
    nodes, weights = (torch.as_tensor(a).to(mean) for a in numpy.polynomial.hermite.hermgauss(NODES))
    spread = (2 * variance).sqrt()
    return (torch.sigmoid(mean[..., None] + spread[..., None] * nodes) @ weights) / math.sqrt(math.pi)
