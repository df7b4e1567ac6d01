"""A series whose value at the end follows from a declared first-order law with learned positive parameters.

The pattern of Mandal: "Interpretable Multi-Task PINN for Emotion Recognition and EDA Prediction", 2025, arXiv
2505.18169, with the law solved in place of a penalty on its residual.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.core.terms import without_autocast
from zoo.core.unit_logits import UnitLogits
from zoo.domain import Domain, SeriesDomain
from zoo.sequences.layers.first_order import FirstOrderLaw
from zoo.sequences.layers.law_fit import bootstrap, read_windows, solve_law
from zoo.training.batch import Batch
from zoo.training.modes import action
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.utils.checks import check_at_least
from zoo.utils.errors import did_you_mean

RECIPE = Recipe(
    stages=(Stage("solve"), Stage("measure", epochs=1, train=())),
    lr=1e-2,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"task": 1.0, "rate": 0.0},
)


@register(
    "physics_head",
    modality="series",
    paper="Mandal, 2025 (pattern)",
    small=Small({"steps": 3, "draws": 20, "delayed": ["pressure"]}, classes=2, task="regression"),
)
class PhysicsHead(UnitLogits):
    """Predicts a value y from drives u by the law y' = -a y + Σ_j g_j u_j, whose terms are the contributions.

        r_j = u_j, or r_j' = -b_j (r_j - u_j) with r_j = 0 at the start, for drives that act with delay
        y(T) = y(0) e^{-aT} + Σ_j g_j ∫ e^{-a(T-t)} r_j(t) dt      units: start and drives
        y'(T) = -a y(T) + Σ_j g_j r_j(T)                           units: decay and drives

    The first value to predict is y at the end of the window, T steps after its start; a second one, if the data have
    it, is its change per unit of time. Each contribution to y is what its drive alone does, because the law is linear:
    removing a drive from the input removes its contribution and changes no other. Drives hold between two samples, and
    for these the solution is exact. Of the variable y, the input's first step alone is read.

    With `level`, a constant drive of 1 is among the drives. a, g_j and b_j are positive and the same for all series.
    The action `solve` finds those of smallest squared error by damped Gauss-Newton steps, and their 95 % intervals by a
    bootstrap over people: items with the same "subject" are drawn together, others each alone. Split data by person, so
    that the test tells about people who were not seen. The change of y is not fitted by default (its coefficient is 0),
    because a difference of two measurements smooths what jumps.

    Differs from the published pattern: the law is solved (there: a network gives y, and the residual of the law is a
    loss); drives are measured (there: emotional influence comes from a network on self-reports); parameters have
    intervals.

    Args:
        domain: what inputs and outputs mean (`data.domain`): series with one value to predict, or it and its change.
        state: name of the variable y; by default the first.
        drives: names of the variables that drive it; by default all others.
        level: whether there is a constant drive, with the gain "level".
        delayed: names of the drives that act with delay, as a response that is the difference of two exponentials.
        steps: largest number of Gauss-Newton steps.
        draws: of the bootstrap.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: law.

    Raises:
        ValueError: inputs other than series, more than two values to predict, or an unknown variable.
    """

    default_recipe = RECIPE
    weighs_classes = False
    tasks = ("regression",)
    domain: SeriesDomain
    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        state: str | None = None,
        drives: Sequence[str] | None = None,
        delayed: Sequence[str] = (),
        level: bool = True,
        steps: int = 100,
        draws: int = 1000,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        if not isinstance(self.domain, SeriesDomain):
            raise ValueError(f"PhysicsHead reads series; got a domain of {self.domain.noun}.")
        check_at_least(1, steps=steps)
        check_at_least(2, draws=draws)
        self.steps, self.draws, names, outputs = steps, draws, self.domain.variables, len(self.domain.classes)
        if outputs > 2:
            raise ValueError(
                f"PhysicsHead predicts one value, and perhaps its change per unit of time; got {outputs} values."
            )
        self.state = names[0] if state is None else state
        self.drives = tuple(name for name in names if name != self.state) if drives is None else tuple(drives)
        for name in (self.state, *self.drives):
            if name not in names:
                raise ValueError(f"the data have no variable '{name}'; {did_you_mean(name, names)}")
        for name in delayed:
            if name not in self.drives:
                raise ValueError(f"delayed names '{name}', which is not a drive; {did_you_mean(name, self.drives)}")
        if not self.drives or len(set(self.drives)) < len(self.drives) or self.state in self.drives:
            raise ValueError(f"drives must be different variables other than '{self.state}'; got {self.drives}.")
        self.columns = [names.index(name) for name in (self.state, *self.drives)]
        rising = tuple(j for j, name in enumerate(self.drives) if name in delayed)
        self.terms_of_law = (*self.drives, *(["level"] if level else []))
        self.level = level
        self.law = FirstOrderLaw(len(self.terms_of_law), rising, self.domain.length, self.domain.step)
        self.register_buffer("mean", torch.tensor(self.domain.mean), persistent=False)
        self.register_buffer("scale", torch.tensor(self.domain.std), persistent=False)
        self.space = "value"

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """First values (B,) of y, and drives (B, T, J), in their own units."""
        raw = x * self.scale.to(x.dtype) + self.mean.to(x.dtype)
        drives = raw[:, :, self.columns[1:]]
        if self.level:
            drives = torch.cat([drives, torch.ones_like(drives[..., :1])], 2)
        return raw[:, 0, self.columns[0]], drives

    def evidence(self, x: Tensor) -> Evidence:
        with without_autocast(x):
            start, drives = self.split(x.float())
            terms = self.law.terms(start, drives)
            logits = torch.stack([terms.value, terms.rate], 2)[:, :, : len(self.domain.classes)]
            here = torch.ones_like(terms.value)
            if self.training:
                return Evidence(here, None, {"unit_logits": logits})
            state = {"unit_logits": logits, "course": self.law.course(start, drives)}
            return Evidence(here, self._support(terms.when, x.shape[2]), state)

    def _support(self, when: Tensor, variables: int) -> Tensor:
        """(B, K, T, V): of the start its step, of a drive what each of its steps adds, relative to the largest."""
        support = when.new_zeros(when.shape[0], 2 + when.shape[1], when.shape[2], variables)
        support[:, 1, 0, self.columns[0]] = 1
        size = when.abs()
        share = size / size.amax(2, keepdim=True).clamp_min(1e-12)
        for j, column in enumerate(self.columns[1:]):
            support[:, 2 + j, :, column] = share[:, j]
        return support

    def details(self, evidence: Evidence, target: Tensor) -> dict[str, Tensor]:
        """What each term adds to y at the end of each step of the window, "course" (B, K, T)."""
        return {"course": evidence.activation[:, :, None] * evidence.state["course"]}

    def parameters_told(self) -> dict[str, dict[str, float]]:
        """The parameters by name, each with "value", and "low" and "high", the ends of its 95 % interval."""
        value, low, high = (v.tolist() for v in (self.law.values().detach(), self.law.low, self.law.high))
        names = self.law.names(self.terms_of_law)
        return {n: {"value": v, "low": a, "high": b} for n, v, a, b in zip(names, value, low, high, strict=True)}

    def statements(self, terms: Mapping[str, Any]) -> tuple[str, ...]:
        told = {
            name: f"{p['value']:.3g} ({p['low']:.3g} to {p['high']:.3g})" for name, p in self.parameters_told().items()
        }
        per, gains = self.domain.unit, [f"{told[f'gain of {name}']} · {name}" for name in self.drives]
        gains += [told["gain of level"]] if self.level else []
        text = f"{self.state} changes per {per} by −{told['decay']} · {self.state} + {' + '.join(gains)}."
        for j in self.law.rising:
            text += f" {self.drives[j]} acts with delay, at the rate {told[f'rise of {self.drives[j]}']} per {per}."
        return (f"{text} In brackets: 95 % intervals.",) * len(terms["activation"])

    def units(self) -> tuple[Unit, ...]:
        told, state = self.parameters_told(), self.state
        parts = [(f"decay of {state}", state, ["decay"]), (f"{state} at the start", state, ["decay"])]
        for j, name in enumerate(self.terms_of_law):
            own = [f"gain of {name}", *([f"rise of {name}"] if j in self.law.rising else [])]
            parts.append((f"drive: {name}", name, own) if j < len(self.drives) else ("level", state, own))
        return tuple(
            Unit(name, "term", source={"variable": variable, "parameters": {key: told[key] for key in own}})
            for name, variable, own in parts
        )

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        error = (scores - batch["target"].view_as(scores)).square().mean(0)
        return {"task": error[0], "rate": error[1:].sum()}

    def require_ready(self) -> None:
        if bool(self.law.low.isnan().any()):
            raise RuntimeError(
                "the parameters of the law have no intervals yet: train with a recipe that has the action `solve`."
            )

    def check_recipe(self) -> None:
        if not any(stage.is_action and stage.name == "solve" for stage in self.stages):
            raise ValueError("the recipe of PhysicsHead must have the action {name: solve}, which fits the law.")

    @action
    def solve(self, projection_set: ProjectionSet) -> None:
        """Fits the law to the training series, and measures the intervals of its parameters."""
        weights = tuple(self.coefficients[name] for name in ("task", "rate"))[: len(self.domain.classes)]
        windows = read_windows(projection_set, self.split, weights)
        found = solve_law(self.law, windows, self.steps)
        self.law.logarithms.copy_(found)
        low, high = bootstrap(self.law, windows, found, self.draws)
        self.law.low.copy_(low)
        self.law.high.copy_(high)
