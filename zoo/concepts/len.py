"""Logic explained networks: one small network per class over few concepts, which can be written as a formula.

Barbiero, Ciravegna, Giannini, Lio, Gori, Melacci: "Entropy-based Logic Explanations of Neural Networks", AAAI 2022,
arXiv 2106.06804.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MultilabelF1Score

from zoo.concepts.layers.bottleneck import Bottleneck
from zoo.concepts.layers.losses import concept_loss
from zoo.core.class_formulas import ClassFormulas
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.rule_table import Rule
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.networks.entropy_head import EntropyHead
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import check_classification
from zoo.utils.checks import check_above, check_at_least
from zoo.utils.functional import at_least_fp32

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

        loss = task + λ entropy (mean over classes of -Σ α log α) + concepts

    The head learns on the true concepts (`training: independent`) or on the predicted ones (`sequential`, `joint`).
    With concepts that are labels of classes, the true concepts have one row per class, and predicted ones teach more.

    The action `extract` finds a formula in disjunctive normal form for each class: the values of the attended concepts
    in correctly predicted training items, shortened as long as the accuracy does not fall (section 3.2). `formulas()`
    returns them as text.

    The score is not a sum over concepts, so explanations have no contributions.

    Differs from the published code: the task loss is a binary cross-entropy of each class (published: a softmax, with
    which one of two classes may decide alone and the formula of the other is arbitrary); the entropy is a mean over
    classes (published: a sum, so λ here is C times the published one); formulas are evaluated on tensors of bits
    instead of symbolically; the softmax of the attention does not overflow.

    Args:
        domain: what inputs and outputs mean (`data.domain`); names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        hidden: hidden neurons of each class.
        temperature: τ.
        training: "independent", "sequential" or "joint", see `zoo.concepts.layers.bottleneck.Bottleneck`.
        terms: maximum number of terms in the formula of a class.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, a regression task, an unknown choice, or a number out of range.
    """

    additive = False
    default_recipe = RECIPE
    weighs_classes = False
    former_names: ClassVar[Mapping[str, str]] = {name: f"logic.{name}" for name in ("formula", "support", "precision")}
    head: EntropyHead

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        hidden: int = 10,
        temperature: float = 0.6,
        training: str = "independent",
        terms: int = 8,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_classification(self.domain, "LEN")
        check_at_least(1, hidden=hidden, terms=terms)
        check_above(0, temperature=temperature)
        self.annotated = Bottleneck(self.domain, "LEN", "probability", training)
        count, classes = self.annotated.count, len(self.domain.classes)
        self.backbone = create_encoder(backbone, self.domain)
        self.concepts = nn.Linear(self.backbone.channels, count)
        self.head = EntropyHead(count, classes, hidden, temperature)
        self.logic = ClassFormulas(self.domain.classes, count, terms)
        self.formula_metrics = nn.ModuleDict({split: MultilabelF1Score(classes) for split in ("val", "test")})

    def evidence(self, x: Tensor) -> Evidence:
        return self.annotated.evidence(at_least_fp32(self.concepts(self.backbone(x))))

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.activation)

    def units(self) -> tuple[Unit, ...]:
        return self.annotated.units()

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        return self.annotated.details(self, evidence, target)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training:
            scores = self.head(self.annotated.evidence_for_head(evidence, concepts).activation)
        return {
            "task": F.binary_cross_entropy_with_logits(scores, self._one_hot(batch["target"]).to(scores)),
            "concepts": concept_loss(evidence.state["logit"], concepts, self.annotated.exclusive),
            "entropy": self.head.entropy(),
        }

    def update_metrics(self, split: str, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Metric]:
        found = super().update_metrics(split, scores, evidence, batch)
        found |= self.annotated.update_metrics(split, evidence, batch)
        if split == "train" or not self.logic.formula.any():
            return found
        f1 = cast(MultilabelF1Score, self.formula_metrics[split])
        f1.update(self.holds(evidence.activation > 0.5).int(), self._one_hot(batch["target"]))
        return {**found, "formula_f1": f1}

    @action
    def extract(self, projection_set: ProjectionSet) -> None:
        """Extracts the formulas from the training set."""
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for batch in projection_set:
            scores, evidence = self.step(batch["input"])
            parts.append((evidence.activation > 0.5, scores.argmax(1), batch["target"]))
        present, predicted, target = (projection_set.gather(torch.cat(rows)) for rows in zip(*parts, strict=True))
        self.logic.extract(present, predicted, target, self.head.kept())

    def formulas(self) -> dict[str, str]:
        """The formula of each class as text; empty for a class without one."""
        return self.logic.texts(self.domain.concepts)

    def rule_table(self) -> list[Rule]:
        """The formula of each class that has one, with its support and precision on the training set."""
        return self.logic.rules(self.domain.concepts)

    def holds(self, present: Tensor) -> Tensor:
        """Whether the formula of each class holds (B, C) for concepts (B, k) bool; an empty formula does not."""
        return self.logic.holds(present)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The formula of each row's target, and whether it is true here."""
        return self.logic.statements(terms["activation"] > 0.5, terms["target"], self.domain.concepts)

    def formula_f1(self, activation: Tensor, classes: Tensor) -> Tensor:
        """F1 score (C,) of each formula as a detector of its class; NaN where the class neither occurs nor is detected.

        Agreement with the classes alone would flatter: with 50 classes, a formula that never holds is right on 98 % of
        the inputs.

        Args:
            activation: (B, k) concept probabilities.
            classes: (B,) labels, for the accuracy of the formulas; or predicted classes, for their fidelity.
        """
        holds, wanted = self.holds(activation > 0.5), self._one_hot(classes).bool()
        return 2 * (holds & wanted).sum(0) / (holds.sum(0) + wanted.sum(0))

    def complexity(self) -> Tensor:
        """Number of literals (C,) in each formula."""
        return (self.logic.formula != 0).sum((1, 2))

    def _one_hot(self, classes: Tensor) -> Tensor:
        return F.one_hot(classes, len(self.domain.classes))
