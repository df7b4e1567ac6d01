"""Deep concept reasoning: for every input and class a fuzzy rule over its concepts, built from their embeddings.

Barbiero, Ciravegna, Giannini, Espinosa Zarlenga, Magister, Tonda, Lio, Precioso, Jamnik, Marra: "Interpretable
Neural-Symbolic Concept Reasoning", ICML 2023, arXiv 2304.14068.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import Annotated
from zoo.concepts.layers.embeddings import ConceptEmbedding
from zoo.concepts.layers.losses import concept_loss, probabilities
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

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
class DCR(Annotated, SelfInterpretable):
    """Builds a rule for each class from concept embeddings, and applies it to the concepts' truth.

        e_i                                        (B, k, m) the mixed concept embeddings of CEM, p_i their truth
        s = sigmoid(polarity(e))                   (B, k, C) whether the rule wants concept i present
        r = sigmoid(l - τ mean_i l)                (B, k, C) whether it matters, l = log-softmax over i of relevance(e)
        score_c = min over i of max(s_ic <-> p_i, 1 - r_ic)        in [0, 1], Gödel's logic

        loss = concepts (binary cross-entropy) + 0.5 task (binary cross-entropy of each class)

    The score is the truth of a rule, no sum; explanations tell polarity and relevance of each concept for the target,
    and `rules(x)` gives the rules in words.

    How this differs from the official code: τ is 2. With the default of 100 there every relevance is 1, because l is
    about -log k, so that the filter neither selects nor learns; with 1 the relevances of two concepts sum to 1, and
    rules that need both, as for XOR, are not found.

    Args:
        domain: what inputs and outputs mean (`data.domain`); it names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        width: m.
        temperature: τ.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, a task of values, or a number out of range.
    """

    additive = False
    space = "probability"
    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        width: int = 16,
        temperature: float = 2.0,
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "DCR")
        if width < 1 or temperature <= 0 or domain.task != "classification":
            raise ValueError(
                f"expected width >= 1, temperature > 0 and a classification; got {width}, {temperature}, {domain.task}."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        self.backbone = create_encoder(backbone, domain)
        self.concepts = ConceptEmbedding(self.backbone.channels, len(domain.concepts), width, shared=True)
        self.head = RuleBuilder(width, len(domain.classes), temperature)
        self.concept_cards = self.concept_metric_sets()

    def evidence(self, x: Tensor) -> Evidence:
        positive, negative, logit = self.concepts(self.backbone(x))
        state = {"positive": positive, "negative": negative, "logit": logit}
        return Evidence(probabilities(logit.float(), self.exclusive), state=state)

    def readout(self, evidence: Evidence) -> Tensor:
        polarity, relevance = self._rule(evidence)
        truth = evidence.activation[..., None]
        return torch.maximum(agreement(polarity, truth), 1 - relevance).amin(1)

    def _rule(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """Polarity and relevance, (B, k, C) each."""
        mixed = torch.lerp(evidence.state["negative"], evidence.state["positive"], evidence.activation[..., None])
        return self.head(mixed)

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        wanted = target[:, None, None].expand(-1, evidence.activation.shape[1], 1)
        polarity, relevance = (t.gather(2, wanted)[..., 0] for t in self._rule(evidence))
        return {**super().details(evidence, target), "polarity": polarity, "relevance": relevance}

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        wanted = F.one_hot(batch["target"], len(self.domain.classes)).to(scores)
        return {
            "task": F.binary_cross_entropy(scores.clamp(1e-6, 1 - 1e-6), wanted),
            "concepts": concept_loss(evidence.state["logit"].float(), batch["concepts"], self.exclusive),
        }

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The rule of each row's target in words, such as "a and not b", and its truth in [0, 1].

        A concept is in the rule if what is said of it holds more than its irrelevance; it is negated if the rule
        wants it absent.
        """
        polarity, relevance = terms["details"]["polarity"], terms["details"]["relevance"]
        inside = 1 - relevance < agreement(polarity, terms["activation"])
        truth = terms["scores"].gather(1, terms["target"][:, None])[:, 0].tolist()
        texts = []
        for row, signs, c, t in zip(
            inside.tolist(), (polarity >= 0.5).tolist(), terms["target"].tolist(), truth, strict=True
        ):
            parts = zip(self.domain.concepts, row, signs, strict=True)
            rule = " and ".join(f"{'' if yes else 'not '}{name}" for name, there, yes in parts if there)
            texts.append(f"{self.domain.classes[c]} if {rule or 'anything'}: truth {t:.3f}")
        return tuple(texts)

    def rules(self, x: Tensor, target: Tensor | None = None) -> list[str]:
        """For each input the rule of its target (by default the best class) in words, such as "a and not b".

        Raises:
            ValueError, TypeError: as `explain`.
        """
        return [text.split(" if ", 1)[1].rsplit(": truth", 1)[0] for text in self.explain(x, target).statements]

    def rule_counts(self, x: Tensor) -> dict[str, Counter[str]]:
        """How often each rule was used for each class, over the inputs."""
        scores, texts = self(x), self.rules(x)
        found: dict[str, Counter[str]] = {name: Counter() for name in self.domain.classes}
        for c, text in zip(scores.argmax(1).tolist(), texts, strict=True):
            found[self.domain.classes[c]][text] += 1
        return found


class RuleBuilder(nn.Module):
    """Polarity and relevance (B, k, C) of concepts from their embeddings (B, k, m).

    Args:
        width: m.
        classes: C.
        temperature: τ; the larger, the more concepts matter.
    """

    def __init__(self, width: int, classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.polarity, self.relevance = (
            nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, classes)) for _ in range(2)
        )

    def forward(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        log = self.relevance(embeddings).log_softmax(1)
        return self.polarity(embeddings).sigmoid(), (log - self.temperature * log.mean(1, keepdim=True)).sigmoid()


def agreement(a: Tensor, b: Tensor) -> Tensor:
    """A <-> b in Gödel's logic with the involutive negation: min(max(1 - a, b), max(a, 1 - b))."""
    return torch.minimum(torch.maximum(1 - a, b), torch.maximum(a, 1 - b))
