"""Rule-based representation learner: rules that are learned by gradients and are exactly what the model computes.

Wang, Zhang, Liu, Wang: "Scalable Rule-Based Representation Learning for Interpretable Classification", NeurIPS 2021,
arXiv 2109.15103; the activation functions are those of "Learning Interpretable Rules for Scalable Data Representation
and Classification", TPAMI 2024, arXiv 2310.14336.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.domain import Domain, TableDomain
from zoo.training.batch import Batch
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss

RECIPE = Recipe(
    stages=(Stage("train", epochs=400, train=("rules", "head"), decay_every=200, decay=0.75),),
    lr=2e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "weight": 1e-4},
)


@register(
    "rrl",
    modality="table",
    paper="Wang et al., NeurIPS 2021",
    small=Small({"rules": 3, "thresholds": 2}, scale={"rules.conjunctions": 2.0, "rules.disjunctions": 1.2}),
)
class RRL(SelfInterpretable):
    """Classifies rows of a table by rules; the score is the sum of the weights of the rules that hold.

        b = literals of x                     (B, L) in {0, 1}: "feature > t" and "feature <= t" for thresholds t
        r = rules(b)                          (B, 2n) n conjunctions and n disjunctions of literals, W > 0.5 are in
        score = (V r + d) / exp(t)            t is learned

    In training the forward value is that of these rules; the gradient is that of their continuous form at the same
    point (gradient grafting). Conjunctions (1 + q(1 - b) q(W)')^-γ and disjunctions 1 - (1 + q(b) q(W)')^-γ, with
    q(a) = 1 - 1 / (1 - (α a)^β), are matrix products.

        loss = task + 1e-4 weight (sum of squares of W)

    Every unit is a rule, named by its text; its contribution is exactly V r / exp(t).

    How this differs from the official code: one logical layer; thresholds are quantiles of a standard normal (rows are
    standardised) instead of random numbers.

    Args:
        domain: what inputs and outputs mean (`data.domain`); a table.
        rules: n.
        thresholds: of each feature; with 1 (for features of 0 and 1) it is 0.5.
        negations: whether there are also literals "feature <= t".
        activation: α, β, γ.
        temperature: exp(t) at the start.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: rules, head, log_temperature.

    Raises:
        ValueError: inputs that are no rows of a table, or a number out of range.
    """

    default_recipe = RECIPE

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        rules: int = 64,
        thresholds: int = 9,
        negations: bool = True,
        activation: tuple[float, float, float] = (0.999, 8, 1),
        temperature: float = 1.0,
        recipe: Recipe | None = None,
    ) -> None:
        domain = Domain.from_dict(domain)
        if not isinstance(domain, TableDomain):
            raise ValueError(f"RRL reads rows of a table; the data are of modality '{domain.modality}'.")
        if rules < 1 or thresholds < 1 or temperature <= 0:
            raise ValueError(
                f"expected rules, thresholds >= 1 and temperature > 0; got {rules}, {thresholds} and {temperature}."
            )
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        share = torch.arange(1, thresholds + 1) / (thresholds + 1)
        places = torch.tensor([0.5]) if thresholds == 1 else torch.distributions.Normal(0.0, 1.0).icdf(share)
        self.register_buffer("places", places)
        self.negations = negations
        count = len(domain.features) * len(places) * (2 if negations else 1)
        self.rules = Rules(count, rules, activation)
        self.head = nn.Linear(2 * rules, len(domain.classes))
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.space = "logit" if domain.task == "classification" else "value"

    def literals(self, x: Tensor) -> Tensor:
        """Which literals hold, (B, L) in {0, 1}, in the order of `literal_names`."""
        above = (x[..., None] > self.places).flatten(1).float()
        return torch.cat([above, 1 - above], 1) if self.negations else above

    def literal_names(self) -> list[str]:
        """What each literal says, in the units of the table."""
        raw = self.domain.values(self.places[:, None].expand(-1, len(self.domain.features)).cpu())  # (T, F)
        binary = len(self.places) == 1
        names = []
        for signs in (">", "<=") if self.negations else (">",):
            for f, feature in enumerate(self.domain.features):
                if binary:
                    names.append(feature if signs == ">" else f"not {feature}")
                else:
                    names += [f"{feature} {signs} {raw[t, f]:.4g}" for t in range(len(self.places))]
        return names

    def evidence(self, x: Tensor) -> Evidence:
        literals = self.literals(x)
        holds = self.rules.holds(literals)
        if self.training:  # the value of the rules, with the gradient of their continuous form
            soft = self.rules(literals)
            holds = soft + (holds - soft).detach()
        return Evidence(holds)

    def readout(self, evidence: Evidence) -> Tensor:
        return super().readout(evidence) / self.log_temperature.exp()

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions, bias = super().attribute(evidence, target)
        return contributions / self.log_temperature.exp(), bias / self.log_temperature.exp()

    def slopes(self, evidence: Evidence) -> Tensor:
        return self.head.weight.float().T[None] / self.log_temperature.exp()

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {
            "task": task_loss(scores, batch["target"], self.domain),
            "weight": self.rules.conjunctions.square().sum() + self.rules.disjunctions.square().sum(),
        }

    def on_train_batch_end(self, *_: Any) -> None:
        self.rules.clamp()

    def units(self) -> tuple[Unit, ...]:
        names, taken = self.literal_names(), {}
        units = []
        for kind, joint, empty in (("conjunctions", " and ", "always"), ("disjunctions", " or ", "never")):
            for row in (getattr(self.rules, kind) > 0.5).tolist():
                parts = [name for name, inside in zip(names, row, strict=True) if inside]
                text = joint.join(parts) or empty
                taken[text] = taken.get(text, 0) + 1
                name = text if taken[text] == 1 else f"{text} ({taken[text]})"
                units.append(Unit(name, "rule", source={"literals": len(parts)}))
        return tuple(units)


class Rules(nn.Module):
    """n conjunctions and n disjunctions of L literals: (B, L) to (B, 2n).

    Args:
        literals: L.
        count: n.
        activation: α, β, γ of the continuous form.
    """

    def __init__(self, literals: int, count: int, activation: Sequence[float]) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma = activation
        self.conjunctions, self.disjunctions = (nn.Parameter(0.5 * torch.rand(count, literals)) for _ in range(2))

    def _q(self, a: Tensor) -> Tensor:
        return 1 - 1 / (1 - (self.alpha * a) ** self.beta)

    def forward(self, literals: Tensor) -> Tensor:
        """The continuous form, in [0, 1]."""
        both = (1 + self._q(1 - literals) @ self._q(self.conjunctions).T) ** -self.gamma
        either = 1 - (1 + self._q(literals) @ self._q(self.disjunctions).T) ** -self.gamma
        return torch.cat([both, either], 1)

    @torch.no_grad()
    def holds(self, literals: Tensor) -> Tensor:
        """The rules themselves, in {0, 1}."""
        broken = (1 - literals) @ (self.conjunctions > 0.5).float().T
        found = literals @ (self.disjunctions > 0.5).float().T
        return torch.cat([broken == 0, found > 0], 1).float()

    @torch.no_grad()
    def clamp(self) -> None:
        """Keeps the weights in [0, 1], where they mean something."""
        self.conjunctions.clamp_(0, 1)
        self.disjunctions.clamp_(0, 1)
