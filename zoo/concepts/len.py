"""Logic explained networks: one small network per class over few concepts, which can be written as a formula.

Barbiero, Ciravegna, Giannini, Lio, Gori, Melacci: "Entropy-based Logic Explanations of Neural Networks", AAAI 2022,
arXiv 2106.06804.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.concepts.layers.annotated import AnnotatedConcepts
from zoo.concepts.layers.entropy_head import EntropyHead
from zoo.concepts.layers.formulas import extract_formula, formula_holds, formula_text
from zoo.concepts.layers.losses import concept_loss, probabilities
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification
from zoo.utils.checks import check_above, check_at_least

RECIPE = Recipe(
    stages=(
        Stage("concepts", epochs=100, train=("backbone", "concepts")),
        Stage("head", epochs=200, train=("head",)),
        Stage("extract"),
        Stage("measure", epochs=1, train=()),
    ),
    lr=0.01,
    weight_decay=0.0,
    optimizer="adamw",
    coefficients={"task": 1.0, "concepts": 1.0, "entropy": 1e-4},
)


@register(
    "len",
    modality=("image", "table", "text"),
    paper="Barbiero et al., AAAI 2022",
    small=Small({"hidden": 3}, on="table"),
)
class LEN(SelfInterpretable):
    """Scores each class by its own network, whose attention to concepts has low entropy.

        p = sigmoid(concepts(backbone(x)))                     (B, k) the activation
        α_c = softmax(|W_c|₁ / τ) over concepts                (C, k), |W_c|₁ summed over hidden neurons
        score_c = v_c · LeakyReLU(W_c (p α_c / max α_c) + b_c) + d_c

        loss = task + λ entropy (mean over classes of -Σ α log α) + concepts; the head learns on true concepts

    The action `extract` finds a formula in disjunctive normal form for each class: the values of the attended concepts
    in correctly predicted training items, shortened as long as the accuracy does not fall (section 3.2). `formulas()`
    returns them as text.

    The score is not a sum over concepts, so explanations have no contributions.

    Differs from the published code: the task loss is a binary cross-entropy of each class (published: a softmax, with
    which one of two classes may decide alone and the formula of the other is arbitrary); formulas are evaluated on
    tensors of bits instead of symbolically; the softmax of the attention does not overflow.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        hidden: hidden neurons of each class.
        temperature: τ.
        terms: maximum number of terms in the formula of a class.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, a regression task, or a number out of range.
    """

    additive = False
    default_recipe = RECIPE
    weighs_classes = False
    head: EntropyHead
    formula: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        hidden: int = 10,
        temperature: float = 0.6,
        terms: int = 8,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "LEN")
        check_at_least(1, hidden=hidden, terms=terms)
        check_above(0, temperature=temperature)
        self.annotated = AnnotatedConcepts(self.domain, "LEN")
        count, classes = self.annotated.count, len(self.domain.classes)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = nn.Linear(self.backbone.channels, count)
        self.head = EntropyHead(count, classes, hidden, temperature)
        self.register_buffer("formula", torch.zeros(classes, terms, count, dtype=torch.int8))

    def evidence(self, x: Tensor) -> Evidence:
        logits = self.concepts(self.backbone(x)).float()
        return Evidence(probabilities(logits, self.annotated.exclusive), state={"logit": logits})

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.activation)

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training:
            known = concepts.isfinite()
            scores = self.head(torch.where(known, concepts.nan_to_num(0.0), evidence.activation.detach()))
        return {
            "task": F.binary_cross_entropy_with_logits(scores, F.one_hot(batch["target"], scores.shape[1]).to(scores)),
            "concepts": concept_loss(evidence.state["logit"], concepts, self.annotated.exclusive),
            "entropy": self.head.entropy(),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        return {**found, **self.annotated.update_metrics(split, evidence, batch)}

    @action
    def extract(self, projection_set: ProjectionSet) -> None:
        """Extracts the formulas from the training set."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for batch in projection_set:
            scores, evidence = self.step(batch["input"])
            parts.append((evidence.activation > 0.5, scores.argmax(1), batch["target"]))
        present, predicted, target = (projection_set.gather(torch.cat(rows)) for rows in zip(*parts, strict=True))
        self.formula.zero_()
        for c, kept in enumerate(self.head.kept()):
            found = extract_formula(present, predicted == c, target == c, kept, self.formula.shape[1])
            self.formula[c, : len(found)] = found

    def formulas(self) -> dict[str, str]:
        """The formula of each class as text; empty for a class without one."""
        rows = zip(self.domain.classes, self.formula.tolist(), strict=True)
        return {name: formula_text(formula, self.domain.concepts) for name, formula in rows}

    def holds(self, present: Tensor) -> Tensor:
        """Whether the formula of each class holds (B, C) for concepts (B, k) bool; an empty formula does not."""
        return formula_holds(self.formula, present)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The formula of each row's target, and whether it is true here."""
        formulas, classes = list(self.formulas().values()), self.domain.classes
        holds = self.holds(terms["activation"] > 0.5).gather(1, terms["target"][:, None])[:, 0].tolist()
        return tuple(
            f"{classes[c]} if {formulas[c]}: {'true' if true else 'not true'} here" if formulas[c] else ""
            for c, true in zip(terms["target"].tolist(), holds, strict=True)
        )

    def fidelity(self, scores: Tensor, activation: Tensor) -> Tensor:
        """Fraction of inputs (C,) on which the formula of a class agrees with its prediction.

        Args:
            scores: (B, C).
            activation: (B, k) concept probabilities.
        """
        best = F.one_hot(scores.argmax(1), scores.shape[1]).bool()
        return (self.holds(activation > 0.5) == best).float().mean(0)

    def formula_accuracy(self, activation: Tensor, target: Tensor) -> Tensor:
        """Fraction of inputs (C,) on which the formula of a class agrees with the label.

        Args:
            activation: (B, k) concept probabilities.
            target: (B,) classes.
        """
        return (self.holds(activation > 0.5) == F.one_hot(target, len(self.domain.classes)).bool()).float().mean(0)

    def complexity(self) -> Tensor:
        """Number of literals (C,) in each formula."""
        return (self.formula != 0).sum((1, 2))
