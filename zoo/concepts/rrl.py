"""Rule-based representation learner: rules learned by gradient descent, which the model evaluates exactly.

Wang, Zhang, Liu, Wang: "Scalable Rule-Based Representation Learning for Interpretable Classification", NeurIPS 2021,
arXiv 2109.15103; the activation functions are those of "Learning Interpretable Rules for Scalable Data Representation
and Classification", TPAMI 2024, arXiv 2310.14336.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.concepts.layers.rule_layer import RuleLayer
from zoo.core.evidence import Evidence, Unit
from zoo.core.module import SelfInterpretable
from zoo.core.registry import Small, register
from zoo.core.rule_table import Rule
from zoo.domain import Domain, TableDomain
from zoo.networks.target_units import assign, in_target_units
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space, task_loss
from zoo.utils.checks import check_above, check_at_least
from zoo.utils.functional import at_least_fp32

RECIPE = Recipe(
    stages=(
        Stage("train", epochs=400, train=("rules", "head"), decay_every=200, decay=0.75),
        Stage("simplify"),
        Stage("measure", epochs=1, train=()),
    ),
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
    """Scores rows of a table by rules; the score is the sum of the weights of the rules that hold.

        b = literals of x                     (B, L) in {0, 1}: "feature > t" and "feature <= t" for thresholds t, or
                                              "column = level" and its negation for levels and missing codes
        r = rules(b)                          (B, 2n) n conjunctions and n disjunctions of the literals with W > 0.5
        score = (V r + d) / exp(t)            t is learned

    In training the forward value is that of these rules, and the gradient is that of their continuous form at the same
    point (gradient grafting), see `zoo.concepts.layers.rule_layer.RuleLayer`.

        loss = task + 1e-4 weight (sum of squares of W)

    Every unit is a rule, named by its text; its contribution is V r / exp(t). The action `simplify` makes the rules
    short, and the model with them: implied literals are dropped and equal rules become one, which changes no score;
    rules that never or always hold on the training set are dropped, the latter into the bias. `rule_table()` gives the
    rules with their support and precision on the training set.

    Differs from the published code: one logical layer; thresholds are quantiles of a standard normal distribution (rows
    are standardised) instead of random numbers; the model itself is simplified (published: the printed rules).

    Args:
        domain: what inputs and outputs mean (`data.domain`); a table.
        rules: n.
        thresholds: number of thresholds per feature; a single one is 0.5, for features in {0, 1}.
        negations: also use the literals "feature <= t".
        activation: α, β, γ of the continuous form.
        temperature: exp(t) at the start of training.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: rules, head, log_temperature.

    Raises:
        ValueError: inputs other than rows of a table, or a number out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True
    domain: TableDomain
    places: Tensor
    indicators: Tensor
    rules: RuleLayer
    alive: Tensor
    support: Tensor
    outcome: Tensor

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
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not isinstance(self.domain, TableDomain):
            raise ValueError(f"RRL reads rows of a table; the data are of modality '{self.domain.modality}'.")
        check_at_least(1, rules=rules, thresholds=thresholds)
        check_above(0, temperature=temperature)
        share = torch.arange(1, thresholds + 1) / (thresholds + 1)
        places = torch.tensor([0.5]) if thresholds == 1 else torch.special.ndtri(share)
        self.register_buffer("places", places)
        self.register_buffer("indicators", torch.tensor(self.domain.indicators)[:, None], persistent=False)
        self.negations = negations
        count = len(self.domain.features) * len(places) * (2 if negations else 1)
        self.rules = RuleLayer(count, rules, activation)
        self.head = in_target_units(nn.Linear(2 * rules, len(self.domain.classes)), self.domain)
        self.register_buffer("alive", torch.ones(2 * rules, dtype=torch.bool))
        # Share of the training rows on which a rule holds; of these, share of each class or mean of each target.
        self.register_buffer("support", torch.zeros(2 * rules))
        self.register_buffer("outcome", torch.zeros(2 * rules, len(self.domain.classes)))
        self.log_temperature = nn.Parameter(torch.tensor(float(temperature)).log())
        self.space = score_space(self.domain)

    def literals(self, x: Tensor) -> Tensor:
        """Truth of the literals (B, L) in {0, 1}, in the order of `literal_names`."""
        places = torch.where(self.indicators, 0.5, self.places)  # (F, T)
        above = (x[..., None] > places).flatten(1).to(x.dtype)
        return torch.cat([above, 1 - above], 1) if self.negations else above

    def literal_names(self) -> list[str]:
        """Text of each literal, with thresholds in the units of the table."""
        features = self.domain.features
        raw = self.domain.values(self.places[:, None].expand(-1, len(features)).cpu())  # (T, F)
        binary = [len(self.places) == 1 or indicator for indicator in self.domain.indicators]
        names = []
        for signs in (">", "<=") if self.negations else (">",):
            for f, feature in enumerate(features):
                if binary[f]:
                    names += [feature if signs == ">" else f"not {feature}"] * len(self.places)
                else:
                    names += [f"{feature} {signs} {raw[t, f]:.4g}" for t in range(len(self.places))]
        return names

    def evidence(self, x: Tensor) -> Evidence:
        literals = self.literals(x)
        holds = self.rules.holds(literals)
        if self.training:  # the value of the rules with the gradient of their continuous form
            soft = self.rules(literals)
            holds = soft + (holds - soft).detach()
        return Evidence(holds * self.alive)

    def readout(self, evidence: Evidence) -> Tensor:
        return super().readout(evidence) / self.log_temperature.exp()

    def attribute(self, evidence: Evidence, target: Tensor) -> tuple[Tensor, Tensor]:
        contributions, bias = super().attribute(evidence, target)
        return contributions / self.log_temperature.exp(), bias / self.log_temperature.exp()

    def attribute_mean(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        weight, bias, scale = at_least_fp32(self.head.weight), at_least_fp32(self.head.bias), self.log_temperature.exp()
        return evidence.activation * weight.mean(0) / scale, (bias.mean() / scale).expand(evidence.activation.shape[0])

    def slopes(self, evidence: Evidence) -> Tensor:
        return at_least_fp32(self.head.weight).T[None] / self.log_temperature.exp()

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {
            "task": task_loss(scores, batch["target"], self.domain, batch.get("class_weights"), batch.get("weight")),
            "weight": self.rules.conjunctions.square().sum() + self.rules.disjunctions.square().sum(),
        }

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rules.clamp()

    @action
    def simplify(self, projection_set: ProjectionSet) -> None:
        """Simplifies the rules and measures them on the training set."""
        self.rules.merge_equal(self.indicators[:, 0], len(self.places), self.negations)
        self.rules.drop_implied(len(self.places), self.negations)
        hits, sums, classes = torch.zeros_like(self.support), torch.zeros_like(self.outcome), len(self.domain.classes)
        for batch in projection_set:
            holds, target = self.rules.holds(self.literals(batch["input"])), batch["target"]
            labels = F.one_hot(target, classes) if self.domain.task == "classification" else target.view(-1, classes)
            hits += holds.sum(0)
            sums += holds.T @ labels.to(holds)
        hits, sums, rows = projection_set.total(hits), projection_set.total(sums), len(projection_set)
        self.support.copy_(hits / rows)
        self.outcome.copy_(sums / hits.clamp_min(1)[:, None])
        weight, bias = self.head.weight.clone(), self.head.bias.clone()
        first: dict[tuple[Any, ...], int] = {}
        inside = (torch.cat([self.rules.conjunctions, self.rules.disjunctions]) > 0.5).tolist()
        for r, row in enumerate(inside):  # by literals, because the thresholds in texts are rounded
            literals = tuple(j for j, used in enumerate(row) if used)
            kind = len(literals) != 1 and r >= len(inside) // 2  # "and" and "or" of one literal are the same rule
            if self.alive[r] and (same := first.setdefault((literals, kind), r)) != r:
                weight[:, same] += weight[:, r]
                self.alive[r] = False
        always = self.alive & (hits == rows)
        bias += weight[:, always].sum(1)
        assign(self.head, weight, bias)
        self.alive &= (hits > 0) & (hits < rows)

    def rule_table(self) -> list[Rule]:
        """The rules that are left, each for the class that it favours most over the mean of all classes."""
        weight = self.head.weight.detach().float() / self.log_temperature.exp().item()
        if len(weight) > 1 and self.domain.task == "classification":
            weight = weight - weight.mean(0)
        rules, share = [], self.domain.task == "classification"
        for r, text in enumerate(self._texts()):
            if self.alive[r]:
                c = int(weight[:, r].argmax() if share else weight[:, r].abs().argmax())
                measured = (self.support[r].item(), self.outcome[r, c].item())
                rules.append(Rule(text, self.domain.classes[c], *measured, weight[c, r].item(), share))
        return rules

    def units(self) -> tuple[Unit, ...]:
        taken: dict[str, int] = {}
        units = []
        literals = (torch.cat([self.rules.conjunctions, self.rules.disjunctions]) > 0.5).sum(1).tolist()
        measured = (self.alive.tolist(), self.support.tolist(), self.outcome.tolist())
        for text, count, alive, support, outcome in zip(self._texts(), literals, *measured, strict=True):
            taken[text] = taken.get(text, 0) + 1
            source: dict[str, Any] = {"literals": count}
            if support:
                source |= {"support": support, "outcome": dict(zip(self.domain.classes, outcome, strict=True))}
                source |= {"text": f"holds for {support:.1%} of the training rows"}
            source |= {} if alive else {"pruned": True}
            units.append(Unit(text if taken[text] == 1 else f"{text} ({taken[text]})", "rule", source=source))
        return tuple(units)

    def _texts(self) -> list[str]:
        """The condition of each rule; "always" and "never" for those without a literal."""
        names, texts = self.literal_names(), []
        for weight, word, empty in (
            (self.rules.conjunctions, "and", "always"),
            (self.rules.disjunctions, "or", "never"),
        ):
            for row in (weight > 0.5).tolist():
                texts.append(f" {word} ".join(name for name, inside in zip(names, row, strict=True) if inside) or empty)
        return texts
