"""Scoring systems: a few conditions with whole numbers of points, whose sum gives the risk.

Ustun, Rudin: "Learning Optimized Risk Scores", JMLR 2019, arXiv 1610.00168 (RiskSLIM); solved as in Liu, Zhong, Li,
Seltzer, Rudin: "FasterRisk: Fast and Accurate Interpretable Risk Scores", NeurIPS 2022, arXiv 2210.05846.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.additive.layers.literals import Literals
from zoo.additive.layers.readout import no_curve, table_of
from zoo.additive.layers.risk_scores import MOST, Rows, Search, find_risk_score
from zoo.additive.layers.score_card import card_text
from zoo.core.additive_evidence import per_class, weights_of
from zoo.core.curves import Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least, check_between

RECIPE = Recipe(
    stages=(Stage("search"), Stage("measure", epochs=1, train=())),
    lr=1e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0},
)


@register(
    "scoring",
    modality="table",
    paper="Ustun and Rudin, JMLR 2019; Liu et al., NeurIPS 2022",
    small=Small({"features": 3, "thresholds": 3}, classes=2),
)
class ScoringSystem(UnitLogits):
    """A card that is added up by hand: each condition that holds gives points, and the total gives the risk.

        h_i = 1 if "column >= threshold", "column = level" or "column is missing" holds for a row, else 0
        log-odds of the second class = (Σ_i points_i h_i - offset) / multiplier,  points_i whole, |points_i| <= 5

    Units are the at most `features` conditions; their points are in `unit.source`, and `card()` prints the card. The
    action `search` finds conditions and points by the logistic loss, see `zoo.additive.layers.risk_scores`: beam search
    for sparse logistic regressions, models with one condition swapped, scaling and sequential rounding, changes of
    single points. Offset and multiplier are then fitted, so that the mean risk is the share of the second class.

    Differs from the published code (FasterRisk): coefficients have a ridge of 1e-5 instead of bounds, so that they are
    scaled down as well as up; offset and multiplier are real numbers, fitted after rounding (there: a whole offset, the
    multiplier of the scaling); points are polished one at a time, as in RiskSLIM. Conditions are made from the table;
    thresholds are quantiles.

    Args:
        domain: what inputs and outputs mean (`data.domain`): a table with two classes.
        features: largest number of conditions, at most 12.
        largest: largest absolute number of points.
        thresholds: largest number of thresholds of a column of numbers.
        beam: supports that the search keeps at each size.
        pool: logistic regressions that are rounded.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: offset, multiplier.

    Raises:
        ValueError: inputs other than a table, another task than two classes, or an argument out of range.
    """

    default_recipe = RECIPE
    weighs_rows = True
    weighs_classes = False
    inputs: Tensor
    thresholds: Tensor
    points: Tensor
    density: Tensor
    literals: Literals

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        features: int = 5,
        largest: int = 5,
        thresholds: int = 9,
        beam: int = 10,
        pool: int = 50,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_between(1, MOST, features=features)
        check_at_least(1, largest=largest, thresholds=thresholds, beam=beam, pool=pool)
        table = table_of(self.domain, "ScoringSystem")
        if table.task != "classification" or len(table.classes) != 2:
            what = f"{len(table.classes)} classes" if table.task == "classification" else f"the task '{table.task}'"
            raise ValueError(f"ScoringSystem gives the risk of one of two classes; the data have {what}.")
        self.search_options = Search(features, largest, beam, pool)
        self.most = thresholds
        self.literals = Literals(table)
        self.register_buffer("inputs", torch.zeros(features, dtype=torch.long))
        self.register_buffer("thresholds", torch.full((features,), torch.inf))
        self.register_buffer("points", torch.zeros(features))  # 0 of lines without a condition
        entries = max(2 + len(c.missing) if c.numeric else 1 + c.width for c in table.layout)
        self.register_buffer("density", torch.zeros(features, entries))
        self.offset, self.multiplier = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(1.0))

    def evidence(self, x: Tensor) -> Evidence:
        holds = self.literals(x, self.inputs, self.thresholds)
        weights = weights_of(self.domain).to(x)
        logits = (self.points / self.multiplier)[:, None] * weights  # (k, C)
        bias = -self.offset / self.multiplier * weights
        support = self.literals.support(self.inputs) * (self.points != 0)[:, None]
        rows = x.shape[0]
        state = {"unit_logits": logits.expand(rows, -1, -1), "bias": bias.expand(rows, -1)}
        return Evidence(holds, None if self.training else support.expand(rows, -1, -1), state)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"task": task_loss(scores, batch["target"], self.domain, None, batch.get("weight"))}

    def lines(self) -> list[tuple[str, int]]:
        """Condition and points of each line of the card, with "" for a line that is not used."""
        found = zip(self.inputs.tolist(), self.thresholds.tolist(), self.points.tolist(), strict=True)
        return [(self.literals.text(f, t) if points else "", round(points)) for f, t, points in found]

    def units(self) -> tuple[Unit, ...]:
        units = []
        for i, (text, points) in enumerate(self.lines()):
            if points:
                noun = "point" if abs(points) == 1 else "points"
                units.append(Unit(text, "rule", source={"points": points, "text": f"{points:+d} {noun}"}))
            else:
                units.append(Unit(f"(unused line {i + 1})", "rule", source={"points": 0, "pruned": True}))
        return tuple(units)

    def card(self) -> str:
        """The points of each condition, and the risk of each total, as text."""
        lines = [line for line in self.lines() if line[1]]
        return card_text(f"Risk of {self.domain.classes[1]}", lines, self.offset.item(), self.multiplier.item())

    @action
    def search(self, projection_set: ProjectionSet) -> None:
        """Finds conditions and points on the training set.

        Raises:
            ValueError: one class only, or no column that varies.
        """
        batches = list(projection_set)
        x, target = (projection_set.gather(torch.cat([b[name] for b in batches])) for name in ("input", "target"))
        weight = torch.ones_like(target, dtype=torch.float64)
        if "weight" in batches[0]:
            weight = projection_set.gather(torch.cat([batch["weight"] for batch in batches])).double()
        inputs, thresholds = self.literals.candidates(x, self.most)
        if not len(inputs) or len(target.unique()) < 2:
            raise ValueError("a scoring system needs training rows of both classes, and a column that varies.")
        literals = self.literals(x, inputs, thresholds).T.double().contiguous()
        rows = Rows(literals, target.double() * 2 - 1, weight / weight.sum())
        found = find_risk_score(rows, self.search_options)
        used = [i for i in sorted(range(len(found.points)), key=lambda i: -abs(found.points[i])) if found.points[i]]
        chosen = [found.literals[i] for i in used]
        for buffer in (self.points, self.inputs, self.density):
            buffer.zero_()
        self.thresholds.fill_(torch.inf)
        self.points[: len(used)] = self.points.new_tensor([found.points[i] for i in used])
        self.inputs[: len(used)], self.thresholds[: len(used)] = inputs[chosen], thresholds[chosen]
        self.offset.fill_(found.offset)
        self.multiplier.fill_(found.multiplier)
        for i, (f, t) in enumerate(zip(self.inputs.tolist(), self.thresholds.tolist(), strict=True)):
            entries = self.literals.entries(x, f, t)
            self.density[i] = torch.bincount(entries, minlength=self.density.shape[1]) / len(x)

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """What each line contributes to the scores, as steps of its column: its points over the multiplier, or 0.

        Raises:
            RuntimeError: the action `search` has not run.
        """
        if not bool(self.density.any()):
            raise RuntimeError("the scoring system has no points yet; train it with its recipe, or call `search`.")
        curves = []
        settings = zip(self.inputs.tolist(), self.thresholds.tolist(), strict=True)
        for i, (unit, (f, t)) in enumerate(zip(self.units(), settings, strict=True)):
            if not self.points[i]:
                curves.append(no_curve(unit.name, 1, 2))
                continue
            axis, holds = self.literals.axis(f, t)
            values = holds.to(self.points) * self.points[i] / self.multiplier
            values = per_class(values[:, None], self.domain)
            curves.append(Curve(unit.name, (axis,), values, self.density[i, : len(axis)]))
        return tuple(curves)
