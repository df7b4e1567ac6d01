"""Stochastic concept bottleneck models: correlated concepts, where one answer moves the others.

Vandenhirtz, Laguna, Marcinkevičs, Vogt: "Stochastic Concept Bottleneck Models", NeurIPS 2024, arXiv 2406.19272.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.correlated import Answers, CorrelatedConcepts, GaussianLogits, expected_sigmoid
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage, stage_at
from zoo.utils.checks import check_at_least

RECIPE = Recipe(
    stages=(Stage("joint", epochs=300, train=("backbone", "concepts", "head"), decay_every=150, decay=0.5),),
    lr=1e-4,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 1.0, "precision": 1.0},
)


@register(
    "scbm",
    modality=("image", "table", "text"),
    paper="Vandenhirtz et al., NeurIPS 2024",
    small=Small(
        {"samples": 4}, variants={"global": Small({"covariance": "global", "answers": "percentiles", "samples": 4})}
    ),
)
class SCBM(SelfInterpretable):
    """Predicts concepts as one Gaussian of their logits, so that an answer to one concept moves the others.

        η ~ N(μ(z), L(z) L(z)ᵀ), z = backbone(x)      (B, k)   logits of the concepts, with their correlations
        p = E[sigmoid(η)]                             (B, k)   the activation
        score = W p + b                               (B, C)

        loss = task + concepts + precision, over S samples η_s and relaxed hard concepts c_s ~ Bernoulli(sigmoid(η_s))
            task:      -log mean_s softmax(W c_s + b)[y], gradients straight through the hard concepts
            concepts:  -log mean_s Π_j Bernoulli(c_j | sigmoid(η_sj))
            precision: mean absolute off-diagonal entry of (L Lᵀ)⁻¹

    An intervention answers a concept: its activation becomes 0 or 1, its logit becomes as certain as `answers` says,
    and the other activations become their expectation given that logit. Several answers are given together; their
    order does not matter. Removing a unit (`ablate`) is no answer: it takes away one contribution and moves nothing.

    Differs from the published code: the score is the exact expectation of the head's scores, W E[c] + b, and not the
    log of the mean probability of 100 random samples, so that contributions add up and predictions do not depend on
    chance; E[sigmoid] is a quadrature; the loss of concepts is a mean over samples (published: a sum, a constant away);
    the confidence region is solved for all rows together by an interior-point method (published: SLSQP for each row);
    missing labels are left out.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        covariance: "amortized" (depends on the input) or "global".
        answers: logits of answered concepts, "confidence" or "percentiles", see `zoo.concepts.layers.correlated`.
        level: of the confidence region, in (0, 1).
        samples: S, in training.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts or with exclusive groups, a regression task, or an unknown choice.
    """

    reference = "runner-up"
    default_recipe = RECIPE
    concepts: GaussianLogits

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet18",
        covariance: str = "amortized",
        answers: str = "confidence",
        level: float = 0.99,
        samples: int = 100,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if self.domain.exclusive or self.domain.task != "classification":
            raise ValueError(
                f"SCBM classifies inputs with binary concepts; got the task '{self.domain.task}' and "
                f"{len(self.domain.exclusive)} exclusive concept groups."
            )
        check_at_least(1, samples=samples)
        self.samples = samples
        self.answers = Answers(len(self.domain.concepts), answers, level)
        self.annotated = CorrelatedConcepts(self.domain, "SCBM", self.answers)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = GaussianLogits(self.backbone.channels, self.annotated.count, covariance)
        self.head = nn.Linear(self.annotated.count, len(self.domain.classes))

    def evidence(self, x: Tensor) -> Evidence:
        mean, factor = self.concepts(self.backbone(x))
        return Evidence(expected_sigmoid(mean, factor.square().sum(2)), state={"mean": mean, "factor": factor})

    def intervene(self, evidence: Evidence, mask: Tensor, values: Tensor) -> Evidence:
        """Answers the concepts of the mask (B, k) with values in [0, 1]; the other concepts follow."""
        earlier = evidence.state.get("answers", torch.full_like(values, torch.nan))
        answers = torch.where(mask, values.clamp(0, 1), earlier)
        told = expected_sigmoid(*self.answers.conditional(evidence.state["mean"], evidence.state["factor"], answers))
        told = torch.where(answers.isfinite(), answers, told)
        activation = torch.where(mask.any(1, keepdim=True), told, evidence.activation)
        return replace(evidence, activation=activation, state={**evidence.state, "answers": answers})

    def ablate(self, evidence: Evidence, units: Iterable[str | int]) -> Evidence:
        columns = [self.unit_index(unit) for unit in units]
        activation = evidence.activation.clone()
        activation[:, columns] = 0.0
        return replace(evidence, activation=activation)

    def slopes(self, evidence: Evidence) -> None:
        """None: an answer moves other concepts too, so no score changes by a constant for each activation."""

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        mean, factor, concepts = evidence.state["mean"], evidence.state["factor"], batch["concepts"]
        task = F.cross_entropy(scores, batch["target"], batch.get("class_weights"))
        noise = torch.randn(self.samples, *mean.shape, device=mean.device)
        logits = mean + (factor @ noise.permute(1, 2, 0)).permute(2, 0, 1)  # (S, B, k)
        known = concepts.isfinite()
        terms = F.binary_cross_entropy_with_logits(logits, concepts.nan_to_num(0.0).expand_as(logits), reduction="none")
        log_mean = torch.logsumexp(-(terms * known).sum(2), 0) - math.log(self.samples)
        if self.training:
            task = F.nll_loss(self._sampled_scores(logits), batch["target"], batch.get("class_weights"))
        eye = torch.eye(mean.shape[1], device=mean.device)
        inverse = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
        precision = inverse.mT @ inverse
        pairs = max(1, mean.shape[1] * (mean.shape[1] - 1))
        apart = (precision * (1 - eye)).abs().sum((1, 2)) / pairs
        return {"task": task, "concepts": -log_mean.mean(), "precision": apart.mean()}

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def _sampled_scores(self, logits: Tensor) -> Tensor:
        """Log of the mean class probabilities (B, C) of hard concepts drawn from logits (S, B, k)."""
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        relaxed = torch.sigmoid((logits + torch.logit(uniform)) / self._temperature())
        hard = (relaxed > 0.5).to(relaxed) + relaxed - relaxed.detach()
        return self.head(hard).log_softmax(2).logsumexp(0) - math.log(len(logits))

    def _temperature(self) -> float:
        """Of the relaxed Bernoulli, from 1 to 0.5 over the stage."""
        if self._trainer is None:
            return 0.5
        position = stage_at(self.stages, self.current_epoch)
        return max(0.5, 0.5 ** (position.epoch / position.stage.epochs))
