"""Self-explaining networks (SENN): a sum of concepts, weighted by relevances that vary slowly with the input.

Alvarez-Melis, Jaakkola: "Towards Robust Interpretability with Self-Explaining Neural Networks", NeurIPS 2018,
arXiv 1806.07538.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, TextDomain
from zoo.networks.elements import Elements
from zoo.networks.encoders import create_encoder
from zoo.networks.target_units import TargetUnits, in_target_units
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least, check_choice

RECIPE = Recipe(
    stages=(Stage("train", epochs=30, train=("backbone", "relevance")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "stability": 1e-2, "reconstruction": 1.0, "sparsity": 1e-4},
)


@register(
    "senn",
    modality=("image", "series", "table"),
    paper="Alvarez-Melis and Jaakkola, NeurIPS 2018 (SENN)",
    small=Small(
        {"count": 4},
        variants={
            "elements": Small({"concepts": "elements", "elements": {"patch": 3}}),
            "rows": Small({"concepts": "elements"}, on="table"),
            "series": Small({"concepts": "elements", "elements": {"patch": 3}}, on="series"),
        },
    ),
)
class SENN(UnitLogits):
    """A locally linear model: score = θ(x)ᵀ h(x), with θ nearly constant around each x.

        h = concepts of x                       (B, K)       learned by an autoencoder, or the input's own elements
        θ = relevance(backbone(x))              (B, K, C)
        score_c = Σ_k θ_kc h_k

        loss = task + 0.01 stability + 1 reconstruction + 1e-4 sparsity     (default coefficients)
        stability = |∇ₓ f - θᵀ ∇ₓ h|²           summed over classes, mean over the batch (section 3.3)
        reconstruction = |x - decoder(h)|²,  sparsity = |h|₁      of learned concepts only (section 4)

    With `concepts="elements"`, h are the means of x over its elements (patches, features), so that the model is a
    attribution to features in context: θ depends on the complete input.

    Differs from the published code: as f = θᵀ h, the difference of gradients is hᵀ ∇ₓ θ, one product with a Jacobian
    instead of two; one random sign for each class, the same over a batch, then gives an unbiased estimate of its square
    over all C classes with a single backward pass (there: a pass for every class). It is squared and averaged over the
    batch (there: a norm over the batch). Reconstruction and sparsity stay in the loss together with stability (there
    they are left out). There is no constant concept, whose relevance could make up the entire score.

    Args:
        domain: what inputs and outputs mean (`data.domain`); not texts, whose tokens have no gradients.
        backbone: of θ, see `zoo.networks.encoders.create_encoder`.
        concepts: "learned" or "elements".
        count: K, number of learned concepts.
        elements: `patch`, see `zoo.networks.elements.Elements`; for concepts="elements".
        encoder: of learned concepts; by default the same as `backbone`.
        bounded: apply tanh to θ.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, relevance, and for learned concepts
            encoder and decoder. By default all are trained for 30 epochs.

    Raises:
        ValueError: texts, an unknown choice, or fewer than one concept.
    """

    default_recipe = RECIPE
    weighs_rows = True

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        concepts: str = "learned",
        count: int = 20,
        elements: dict[str, int] | None = None,
        encoder: str | dict[str, Any] | None = None,
        bounded: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        learned = ("encoder", "decoder") if concepts == "learned" else ()
        everything = Stage("train", epochs=30, train=("backbone", "relevance", *learned))
        super().__init__(domain, recipe, default_recipe=replace(RECIPE, stages=(everything,)))
        self.keep_arguments(locals())
        if isinstance(self.domain, TextDomain):
            raise ValueError("SENN requires continuous inputs; text tokens are discrete. Use 'sop' for texts.")
        check_choice(("learned", "elements"), concepts=concepts)
        check_at_least(1, count=count)
        self.learned, self.bounded = concepts == "learned", bounded
        self.elements = Elements(self.domain, **(elements or {}))
        self.count = count if self.learned else self.elements.count
        classes = len(self.domain.classes)
        self.backbone = create_encoder(backbone, self.domain)
        relevance = nn.Linear(self.backbone.channels, self.count * classes)
        self.relevance = in_target_units(relevance, self.domain, bias=False)
        self.mean = TargetUnits(classes, origin=True) if self.domain.task == "regression" else None
        if self.learned:
            features = create_encoder(encoder or backbone, self.domain)
            self.encoder = nn.Sequential(features, nn.Linear(features.channels, count))
            size = int(torch.Size(self.domain.shape).numel())
            self.decoder = nn.Sequential(nn.Linear(count, 256), nn.ReLU(), nn.Linear(256, size))
        self.space = "logit" if self.domain.task == "classification" else "value"

    def evidence(self, x: Tensor) -> Evidence:
        inputs = x
        if self.training and self.coefficients["stability"]:
            inputs = x.detach().requires_grad_()
        theta = self.relevance(self.backbone(inputs)).unflatten(1, (self.count, -1))
        theta = theta.tanh() if self.bounded else theta
        h = self.encoder(inputs) if self.learned else self._means(inputs)
        state, support = {"unit_logits": theta}, None
        if self.mean is not None:
            state["bias"] = self.mean.origin.expand(x.shape[0], -1)
        if self.training:
            state["inputs"] = inputs
        elif not self.learned:
            here = torch.eye(self.count, device=x.device).unflatten(1, self.elements.grid)
            support = here.expand(x.shape[0], *here.shape)
        return Evidence(h, support, state)

    def _means(self, x: Tensor) -> Tensor:
        """Mean of each element (B, L)."""
        if self.domain.modality == "image":
            return F.avg_pool2d(x.mean(1, keepdim=True), self.elements.patch, ceil_mode=True).flatten(1)
        if self.domain.modality == "series":
            pooled = F.avg_pool1d(x.mT, self.elements.patch, ceil_mode=True)
            return pooled.mT.flatten(1)
        return x

    def units(self) -> tuple[Unit, ...]:
        if self.learned:
            return tuple(Unit(f"concept {k + 1}", "concept") for k in range(self.count))
        source = {"patch": self.elements.patch}
        return tuple(Unit(name, "feature", source=source) for name in self.elements.names())

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"), batch.get("weight"))
        }
        if self.training and self.coefficients["stability"]:
            terms["stability"] = self._stability(evidence)
        if self.learned:
            x = batch["input"].flatten(1)
            terms["reconstruction"] = F.mse_loss(self.decoder(evidence.activation), x)
            terms["sparsity"] = evidence.activation.abs().sum(1).mean()
        return terms

    def _stability(self, evidence: Evidence) -> Tensor:
        """Unbiased estimate of |hᵀ ∇ₓ θ|², summed over classes and averaged over the batch."""
        theta, inputs = evidence.state["unit_logits"], evidence.state["inputs"]
        sign = torch.randint(0, 2, theta.shape[2:], device=theta.device, dtype=theta.dtype) * 2 - 1
        # h only weighs the derivatives of θ: it is not differentiated by x, but the loss also teaches its encoder.
        weight = evidence.activation[:, :, None] * sign
        (gradient,) = torch.autograd.grad(theta, inputs, weight, create_graph=True)
        return gradient.flatten(1).square().sum(1).mean()
