"""Concept embedding models: a concept speaks with a vector, so that an incomplete set of concepts costs no accuracy.

Espinosa Zarlenga, Barbiero, Ciravegna, Marra, Giannini, Diligenti, Shams, Precioso, Melacci, Weller, Lio, Jamnik:
"Concept Embedding Models: Beyond the Accuracy-Explainability Trade-Off", NeurIPS 2022, arXiv 2209.09056.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.concepts.layers.embeddings import ConceptEmbedding, Embedded
from zoo.concepts.layers.losses import check_weighting, concept_loss
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "concepts": 5.0},
)


@register(
    "cem",
    modality=("image", "table", "text"),
    paper="Espinosa Zarlenga et al., NeurIPS 2022",
    small=Small({"width": 3}, on="table"),
)
class CEM(Embedded, SelfInterpretable):
    """Scores classes from concept embeddings, each mixed of "present" and "absent" by the concept's probability.

        c⁺, c⁻ = LeakyReLU(W_e h)            (B, k, m) each, h = backbone(x)
        p = sigmoid(s · [c⁺; c⁻])            (B, k), s shared by all concepts; a softmax in exclusive groups
        c = p c⁺ + (1 - p) c⁻                (B, k, m)
        score = W [c_1 ... c_k] + b          so concept i contributes exactly W_i · c_i

        loss = task + λ concepts, λ = 5 (CUB)

    RandInt (section 3.2): in training each concept takes its true value with probability 0.25, so that the model
    learns to profit from interventions.

    A concept's vector may carry more than the concept (leakage): measure it before trusting the name.

    How this differs from the official code: RandInt is drawn for every row (there: once for a whole batch; choose
    with `randint`), and for exclusive groups as a whole; the latent is the pooled feature, not 1000 ImageNet logits.

    Args:
        domain: what inputs and outputs mean (`data.domain`); it names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m, length of an embedding.
        randint: "sample" or "batch": what one draw of RandInt is for.
        randint_probability: of taking the true value, in [0, 1].
        weighting: "none", "weight" or "pos_weight", see `zoo.concepts.layers.losses.concept_loss`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, an unknown choice or a number out of range.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        width: int = 16,
        randint: str = "sample",
        randint_probability: float = 0.25,
        weighting: str = "none",
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "CEM")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if randint not in ("sample", "batch"):
            raise ValueError(f"randint must be 'sample' or 'batch'; got '{randint}'.")
        if width < 1 or not 0 <= randint_probability <= 1:
            raise ValueError(
                f"expected width >= 1 and randint_probability in [0, 1]; got {width} and {randint_probability}."
            )
        self.randint, self.randint_probability = randint, randint_probability
        self.weighting = check_weighting(weighting)
        count = len(domain.concepts)
        self.backbone = create_encoder(backbone, domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, count, width, shared=True)
        self.head = nn.Linear(count * width, len(domain.classes))
        self.space = "logit" if domain.task == "classification" else "value"
        self.register_buffer("concept_weights", torch.ones(count))
        self.concept_cards = self.concept_metric_sets()

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training:
            truth = concepts.nan_to_num(0.0).to(evidence.activation)
            scores = self.readout(self.intervene(evidence, self._randint(concepts), truth))
        return {
            "task": task_loss(scores, batch["target"], self.domain),
            "concepts": concept_loss(
                evidence.state["logit"], concepts, self.exclusive, self.weighting, self.concept_weights
            ),
        }

    def _randint(self, concepts: Tensor) -> Tensor:
        """(B, k) which concepts take their true value; never one whose label is missing."""
        rows = len(concepts) if self.randint == "sample" else 1
        draw = torch.rand(rows, concepts.shape[1], device=concepts.device)
        known = concepts.isfinite()
        for columns in self.exclusive:
            draw[:, columns] = draw[:, columns[:1]]
            known[:, columns] = known[:, columns].all(1, keepdim=True)
        return (draw < self.randint_probability) & known
