"""Concept bottleneck model with curves in place of weights: an additive model of predicted concepts.

Agarwal, Melnick, Frosst, Zhang, Lengerich, Caruana, Hinton: "Neural Additive Models: Interpretable Machine Learning
with Neural Nets", NeurIPS 2021, arXiv 2004.13912, on the concepts of Koh et al.: "Concept Bottleneck Models", ICML
2020, arXiv 2007.04612.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from zoo.concepts.cbm import CBM, RECIPE
from zoo.concepts.layers.curve_head import CurveHead
from zoo.core.curves import Curve
from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_choice
from zoo.utils.functional import at_least_fp32

RANGES = {"sigmoid": (0.0, 1.0), "logit": (-6.0, 6.0)}  # of activations
CURVES = replace(  # the recipe of `CBM`, then `calibrate`
    RECIPE, stages=(*(RECIPE.stages or ()), Stage("calibrate"), Stage("measure", epochs=1, train=()))
)


@register(
    "curve_cbm",
    modality=("image", "table", "text"),
    paper="Agarwal et al., NeurIPS 2021; Koh et al., ICML 2020",
    small=Small(
        {"pieces": 4}, on="table", draw={"head.slopes": 1.0}, variants={"logit": Small({"bottleneck": "logit"})}
    ),
)
class CurveCBM(CBM):
    """Scores classes by a sum of functions of predicted, annotated concepts: a CBM with curves in place of weights.

        a = concepts(backbone(x))          (B, k)   concept logits;  p = sigmoid(a)
        v = p or a                         (B, k)   the activation: bottleneck "sigmoid" or "logit"
        score = b + Σ_k f_k(v_k)           (B, C)   f_k: linear between knots; 0 where v = 0

    Contributions are f_k(v_k), exactly. `curves()` are the head itself. The action `calibrate` measures the density of
    the training data along them, and the percentiles of `CBM`. Losses, `training` and interventions are those of `CBM`.
    A head of straight curves is its linear head.

    Differs from the published NAM: curves are piecewise linear (there: small networks), so that they are exact tables.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        bottleneck: "sigmoid" or "logit" (curves from -6 to 6, constant beyond).
        training: "joint", "sequential" or "independent". True concepts are the ends of the curves of probabilities
            alone, so "independent" teaches them nothing in between.
        pieces: of each curve; of logits an even number.
        weighting: see `CBM`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, an unknown choice, or a number of pieces out of range.
    """

    default_recipe = CURVES
    reference = "zero"  # the curves are of single classes
    head: CurveHead

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        bottleneck: str = "sigmoid",
        training: str = "joint",
        pieces: int = 8,
        weighting: str = "none",
        recipe: Recipe | None = None,
    ) -> None:
        check_choice(RANGES, bottleneck=bottleneck)
        super().__init__(domain, backbone, bottleneck, training, (), weighting, recipe)
        self.keep_arguments(locals())
        self.head = CurveHead(self.domain.concepts, len(self.domain.classes), pieces, *RANGES[bottleneck])

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.activation)

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        return self.head.contributions(evidence.activation, target), at_least_fp32(self.head.bias)[target]

    def slopes(self, evidence: Evidence) -> Tensor | None:
        """None: curves have no constant slope."""
        return None

    def curves(self) -> tuple[Curve, ...]:
        """The curve of each concept, over its activation."""
        return self.head.curves()

    @action
    def calibrate(self, projection_set: ProjectionSet) -> None:
        """Measures percentiles as `CBM` does, and the density of the activations on the training set."""
        super().calibrate(projection_set)
        values = torch.cat([self.evidence(batch["input"]).activation for batch in projection_set])
        self.head.measure(projection_set.gather(values))
