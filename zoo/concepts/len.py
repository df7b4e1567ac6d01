"""Logic explained networks: a small network a class that reads few concepts, so that it can be written as a formula.

Barbiero, Ciravegna, Giannini, Lio, Gori, Melacci: "Entropy-based Logic Explanations of Neural Networks", AAAI 2022,
arXiv 2106.06804.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.annotated import Annotated
from zoo.concepts.layers.losses import concept_loss, probabilities
from zoo.core.evidence import Evidence
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage

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
KEPT = 0.5  # concepts of at least half the attention of the strongest one are in the formula


@register(
    "len",
    modality=("image", "table", "text"),
    paper="Barbiero et al., AAAI 2022",
    small=Small({"hidden": 3}, on="table"),
)
class LEN(Annotated, SelfInterpretable):
    """Scores each class by a network of its own whose attention to concepts has low entropy.

        p = sigmoid(concepts(backbone(x)))                     (B, k) the activation
        α_c = softmax(|W_c|₁ / τ) over concepts                (C, k), |W_c|₁ summed over hidden neurons
        score_c = v_c · LeakyReLU(W_c (p α_c / max α_c) + b_c) + d_c

        loss = task + λ entropy (mean over classes of -Σ α log α) + concepts; the head learns on true concepts

    The action `extract` reads a formula in disjunctive normal form off each class: the concepts that the network keeps,
    as they are in the training items that it gets right, shortened as long as the formula loses no accuracy.
    `formulas()` gives them as text.

    The score is no sum of concepts, so explanations have no contributions.

    How this differs from the official code: the task is a binary cross-entropy of each class (there: a softmax, with
    which one of two classes may do all the work and the other's formula is arbitrary); formulas are evaluated as
    columns of bits instead of symbolically; the softmax of the attention does not overflow.

    Args:
        domain: what inputs and outputs mean (`data.domain`); it names the concepts.
        backbone: see `zoo.networks.encoders.create_encoder`.
        hidden: neurons of each class's network.
        temperature: τ.
        terms: of a class's formula, at most.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, concepts, head.

    Raises:
        ValueError: a domain without concepts, or a number out of range.
    """

    additive = False
    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "resnet34",
        hidden: int = 10,
        temperature: float = 0.6,
        terms: int = 8,
        recipe: Recipe | None = None,
    ) -> None:
        domain = self.require_concepts(domain, "LEN")
        if domain.task != "classification":
            raise ValueError(f"LEN classifies; the task of these data is '{domain.task}'.")
        if hidden < 1 or temperature <= 0 or terms < 1:
            raise ValueError(f"expected hidden, terms >= 1 and temperature > 0; got {hidden}, {terms}, {temperature}.")
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        count, classes = len(domain.concepts), len(domain.classes)
        self.backbone = create_encoder(backbone, domain)
        self.concepts = nn.Linear(self.backbone.channels, count)
        self.head = EntropyHead(count, classes, hidden, temperature)
        self.register_buffer("formula", torch.zeros(classes, terms, count, dtype=torch.int8))
        self.concept_cards = self.concept_metric_sets()

    def evidence(self, x: Tensor) -> Evidence:
        logits = self.concepts(self.backbone(x)).float()
        return Evidence(probabilities(logits, self.exclusive), state={"logit": logits})

    def readout(self, evidence: Evidence) -> Tensor:
        return self.head(evidence.activation)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        concepts = batch["concepts"]
        if self.training:
            scores = self.head(torch.where(concepts.isfinite(), concepts.nan_to_num(0.0), evidence.activation.detach()))
        return {
            "task": F.binary_cross_entropy_with_logits(scores, F.one_hot(batch["target"], scores.shape[1]).to(scores)),
            "concepts": concept_loss(evidence.state["logit"], concepts, self.exclusive),
            "entropy": self.head.entropy(),
        }

    @action
    def extract(self, projection_set: ProjectionSet) -> None:
        """Reads the formulas off the training set."""
        rows = [(self(batch["input"]).argmax(1), batch) for batch in projection_set]
        present = torch.cat([self.evidence(batch["input"]).activation > 0.5 for _, batch in rows])
        predicted, target = torch.cat([p for p, _ in rows]), torch.cat([batch["target"] for _, batch in rows])
        present, predicted, target = (projection_set.gather(t) for t in (present, predicted, target))
        self.formula.zero_()
        for c in range(len(self.domain.classes)):
            found = formula_of(present, predicted == c, target == c, self.head.kept()[c], self.formula.shape[1])
            self.formula[c, : len(found)] = found

    def formulas(self) -> dict[str, str]:
        """The formula of each class in words; empty for a class without one."""
        names = self.domain.concepts
        texts = {}
        for name, terms in zip(self.domain.classes, self.formula.tolist(), strict=True):
            literals = [[("" if sign > 0 else "not ") + names[i] for i, sign in enumerate(t) if sign] for t in terms]
            words = [" and ".join(term) for term in literals if term]
            texts[name] = " or ".join(f"({w})" if " and " in w else w for w in words)
        return texts

    def holds(self, present: Tensor) -> Tensor:
        """(B, C) whether each class's formula is true of concepts (B, k) that are present or not; of none it is not."""
        signs = present.to(torch.int8) * 2 - 1
        literals = self.formula.flatten(0, 1)  # (C T, k)
        missed = (signs[:, None] * literals != literals.abs()).any(2).unflatten(1, self.formula.shape[:2])
        return (~missed & self.formula.any(2)).any(2)

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        """The formula of each row's target, and whether it is true here."""
        formulas, classes = list(self.formulas().values()), self.domain.classes
        true = self.holds(terms["activation"] > 0.5).gather(1, terms["target"][:, None])[:, 0].tolist()
        return tuple(
            f"{classes[c]} if {formulas[c]}: {'true' if yes else 'not true'} here" if formulas[c] else ""
            for c, yes in zip(terms["target"].tolist(), true, strict=True)
        )

    def fidelity(self, scores: Tensor, activation: Tensor) -> Tensor:
        """(C,) how often a class's formula on concepts (B, k) agrees with whether scores (B, C) are highest for it."""
        best = F.one_hot(scores.argmax(1), scores.shape[1]).bool()
        return (self.holds(activation > 0.5) == best).float().mean(0)

    def formula_accuracy(self, activation: Tensor, target: Tensor) -> Tensor:
        """(C,) how often a class's formula agrees with the label (B,) on concepts (B, k)."""
        return (self.holds(activation > 0.5) == F.one_hot(target, len(self.domain.classes)).bool()).float().mean(0)

    def complexity(self) -> Tensor:
        """(C,) literals of each formula."""
        return (self.formula != 0).sum((1, 2))


class EntropyHead(nn.Module):
    """Networks of C classes over k concepts, side by side: (B, k) to (B, C).

    Args:
        concepts: k.
        classes: C.
        hidden: neurons of each.
        temperature: of the attention to concepts.
    """

    def __init__(self, concepts: int, classes: int, hidden: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.weight = nn.Parameter(torch.empty(classes, hidden, concepts).uniform_(-1, 1) * concepts**-0.5)
        self.bias = nn.Parameter(torch.zeros(classes, hidden))
        self.out = nn.Parameter(torch.empty(classes, hidden).uniform_(-1, 1) * hidden**-0.5)
        self.offset = nn.Parameter(torch.zeros(classes))

    def _log_attention(self) -> Tensor:
        return (self.weight.abs().sum(1) / self.temperature).log_softmax(1)

    def attention(self) -> Tensor:
        """α divided by its largest value, (C, k) in [0, 1]."""
        log = self._log_attention()
        return (log - log.amax(1, keepdim=True)).exp()

    def kept(self) -> Tensor:
        """(C, k) the concepts that count for a class."""
        return self.attention() > KEPT

    def entropy(self) -> Tensor:
        """Mean over classes of the entropy of α."""
        log = self._log_attention()
        return -(log.exp() * log).sum(1).mean()

    def forward(self, concepts: Tensor) -> Tensor:
        scaled = self.weight * self.attention()[:, None]
        hidden = F.leaky_relu(torch.einsum("bk,chk->bch", concepts, scaled) + self.bias)
        return (hidden * self.out).sum(2) + self.offset


def formula_of(present: Tensor, predicted: Tensor, target: Tensor, kept: Tensor, terms: int) -> Tensor:
    """A short formula in disjunctive normal form for one class, (T, k) in {-1 absent, 0 any, 1 present}.

    Terms come from the items that are rightly predicted, the most frequent first. Each loses literals as long as its
    accuracy does not fall, and joins the formula if it improves the formula's accuracy (section 3.2).

    Args:
        present: (N, k) which concepts the items have.
        predicted: (N,) whether the class is predicted.
        target: (N,) whether it is right.
        kept: (k,) the concepts that may be in the formula.
        terms: T, at most.
    """
    right, columns = predicted & target, kept.nonzero().flatten()
    if not right.any() or not len(columns):
        return present.new_zeros(0, present.shape[1], dtype=torch.int8)
    seen, counts = present[right][:, columns].unique(dim=0, return_counts=True)
    signs = present.to(torch.int8) * 2 - 1  # (N, k) in {-1, 1}
    fits = lambda literals: (signs * literals == literals.abs()).all(1)  # noqa: E731
    chosen: list[Tensor] = []
    covered, best = torch.zeros_like(target), (~target).float().mean()
    for i in counts.argsort(descending=True, stable=True)[: 4 * terms].tolist():
        literals = signs.new_zeros(signs.shape[1])
        literals[columns] = seen[i].to(torch.int8) * 2 - 1
        literals = _shortened(literals, columns, fits, target)
        joined = covered | fits(literals)
        accuracy = (joined == target).float().mean()
        if accuracy > best and len(chosen) < terms:
            chosen, covered, best = [*chosen, literals], joined, accuracy
    return torch.stack(chosen) if chosen else signs.new_zeros(0, signs.shape[1])


def _shortened(literals: Tensor, columns: Tensor, fits: Any, target: Tensor) -> Tensor:
    """The term without the literals whose loss does not make it less accurate."""
    accuracy = (fits(literals) == target).float().mean()
    for column in columns.tolist():
        shorter = literals.clone()
        shorter[column] = 0
        if shorter.any() and (fits(shorter) == target).float().mean() >= accuracy:
            literals, accuracy = shorter, (fits(shorter) == target).float().mean()
    return literals
