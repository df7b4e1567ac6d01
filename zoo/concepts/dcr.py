"""Deep concept reasoning: a fuzzy rule over concepts for every input and class, built from concept embeddings.

Barbiero, Ciravegna, Giannini, Espinosa Zarlenga, Magister, Tonda, Lio, Precioso, Jamnik, Marra: "Interpretable
Neural-Symbolic Concept Reasoning", ICML 2023, arXiv 2304.14068.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.embeddings import ConceptEmbedding, mixed_embeddings
from zoo.concepts.layers.fuzzy_rules import RuleBuilder, agreement
from zoo.concepts.layers.losses import concept_loss
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.rule_table import Rule
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification
from zoo.utils.checks import check_above, check_at_least

RECIPE = Recipe(
    stages=(Stage("joint", epochs=100, train=("backbone", "concepts", "head")),),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adamw",
    coefficients={"task": 0.5, "concepts": 1.0},
)


@register(
    "dcr",
    modality=("image", "table", "text"),
    paper="Barbiero et al., ICML 2023",
    small=Small({"width": 4}, on="table"),
)
class DCR(SelfInterpretable):
    """Builds a rule for each class from concept embeddings, and applies it to the concepts' truth.

        e_i                                        (B, k, m) the mixed concept embeddings of CEM, p_i their truth
        s = sigmoid(polarity(e))                   (B, k, C) whether the rule requires concept i to be present
        r = sigmoid(l - τ mean_i l)                (B, k, C) its relevance, l = log-softmax over i of relevance(e)
        score_c = min over i of max(s_ic <-> p_i, 1 - r_ic)        in [0, 1], Gödel's logic

        loss = concepts (binary cross-entropy) + 0.5 task (binary cross-entropy of each class)

    The score is the truth of a rule, so this model is not additive. Explanations give the polarity and relevance of
    each concept for the target; `rules(x)` returns the rules as text.

    Differs from the published code: τ is 2. With the published default of 100 every relevance is 1, because l is about
    -log k, so that the filter neither selects nor learns. With 1 the relevances of two concepts sum to 1, and rules
    that need both, as for XOR, are not found.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m, length of an embedding.
        temperature: τ.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, a regression task, or a number out of range.
    """

    additive = False
    space = "probability"
    default_recipe = RECIPE
    weighs_classes = False

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        width: int = 16,
        temperature: float = 2.0,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "DCR")
        check_at_least(1, width=width)
        check_above(0, temperature=temperature)
        self.annotated = AnnotatedConcepts(self.domain, "DCR")
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, self.annotated.count, width, shared=True)
        self.head = RuleBuilder(width, len(self.domain.classes), temperature)

    def evidence(self, x: Tensor) -> Evidence:
        return self.concepts.evidence(self.backbone(x), self.annotated.exclusive)

    def readout(self, evidence: Evidence) -> Tensor:
        polarity, relevance = self.rule(evidence)
        truth = evidence.activation[..., None]
        return torch.maximum(agreement(polarity, truth), 1 - relevance).amin(1)

    def rule(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Polarity and relevance of the concepts for each class, (B, k, C) in [0, 1] each."""
        return self.head(mixed_embeddings(evidence))

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        columns = target[:, None, None].expand(-1, evidence.activation.shape[1], 1)
        polarity, relevance = (t.gather(2, columns)[..., 0] for t in self.rule(evidence))
        return {
            **self.annotated.details(self, evidence, target),
            "polarity": polarity,
            "relevance": relevance,
        }

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        labels = F.one_hot(batch["target"], len(self.domain.classes)).to(scores)
        return {
            "task": F.binary_cross_entropy(scores.clamp(1e-6, 1 - 1e-6), labels),
            "concepts": concept_loss(evidence.state["logit"], batch["concepts"], self.annotated.exclusive),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The rule of each row's target as text, such as "a and not b", and its truth in [0, 1].

        A concept is part of the rule if its agreement with the polarity exceeds its irrelevance; it is negated if the
        rule requires it to be absent.
        """
        polarity, relevance = terms["details"]["polarity"], terms["details"]["relevance"]
        inside = 1 - relevance < agreement(polarity, terms["activation"])
        truth = terms["scores"].gather(1, terms["target"][:, None])[:, 0].tolist()
        texts = []
        for row, signs, c, t in zip(
            inside.tolist(), (polarity >= 0.5).tolist(), terms["target"].tolist(), truth, strict=True
        ):
            parts = zip(self.domain.concepts, row, signs, strict=True)
            rule = " and ".join(f"{'' if positive else 'not '}{name}" for name, used, positive in parts if used)
            texts.append(f"{self.domain.classes[c]} if {rule or 'anything'}: truth {t:.3f}")
        return tuple(texts)

    def rules(self, x: Tensor, target: Tensor | None = None) -> list[str]:
        """The rule of each input's target (by default the class of highest score) as text, such as "a and not b".

        Raises:
            ValueError, TypeError: as `explain`.
        """
        return [text.split(" if ", 1)[1].rsplit(": truth", 1)[0] for text in self.explain(x, target).statements]

    def rules_on(self, x: Tensor, labels: Tensor) -> list[Rule]:
        """The rules of the predicted classes over a data set, each with the share of the inputs that it decides.

        Args:
            x: N inputs.
            labels: (N,) classes, for the precision of the rules.
        """
        found: dict[tuple[int, str], list[bool]] = {}
        for c, text, label in zip(self(x).argmax(1).tolist(), self.rules(x), labels.tolist(), strict=True):
            found.setdefault((c, text), []).append(c == label)
        return [
            Rule(text, self.domain.classes[c], len(right) / len(x), sum(right) / len(right))
            for (c, text), right in found.items()
        ]
