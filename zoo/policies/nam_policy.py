"""A policy that is a sum of curves, one of each observed number, and optionally of surfaces, one of each pair.

The networks are those of Agarwal et al.: "Neural Additive Models", NeurIPS 2021, arXiv 2004.13912; that they choose
actions, and how they are trained, is a design of this package.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.curves import Axis, Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.domain.columns import Column
from zoo.networks.feature_networks import FeatureNetworks, column_support
from zoo.networks.pair_networks import PairNetworks
from zoo.policies.layers.policy import Policy, observations_of
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.ppo import COEFFICIENTS, Critic
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space
from zoo.utils.checks import check_at_least

CELLS = 12  # points along each side of a surface
MOST_PAIRS = 300
RECIPE = Recipe(
    stages=(
        Stage("initialise"),
        Stage("train", epochs=100, train=("networks", "bias", "critic"), cosine=True),
    ),
    lr=2e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={**COEFFICIENTS, "output": 1e-3},
)


@register(
    "nam_policy",
    modality="table",
    paper="networks of Agarwal et al., NeurIPS 2021; trained as Schulman et al., 2017",
    small=Small(
        {"units": 4, "hidden": [3], "points": 5},
        scale={"networks.output": 4.0},
        variants={"pairs": Small({"units": 4, "hidden": [3], "points": 5, "pairs": True})},
    ),
)
class NAMPolicy(Policy):
    """A policy whose score of each action is a sum of learned curves, one of each observed number.

        f_k(x) = network_k(x_k) - its mean over the points           (B, K, C')
        f_kl(x) = network_kl(x_k, x_l) - its mean over the points    with `pairs`, for all k < l
        score = b + Σ_k f_k(x) + Σ_kl f_kl(x)        (B, C)          for two actions the log-odds of the second

        loss = PPO + 1e-3 output       output = Σ f² / number of f, mean over steps;  PPO see `zoo.training.ppo`

    The action `initialise` puts the centres of the first layer at observed values, and P points on the range of each
    number, weighted by how often it was observed there. Curves have the mean 0 over these points at all times, so that
    `curves()` shows what the policy computes and nothing is left to be done after the training. The curves of all
    numbers, and the surfaces of all pairs at 12 x 12 points, are the complete policy. A surface may hold a part of what
    its numbers do alone: it is not made orthogonal to their curves.

    Differs from the published code: there is none of a policy; see `zoo.additive.nam.NAM` for the networks.

    Args:
        domain: what is observed, and the actions (`data.domain`): a table of numbers.
        units: units of the first layer of each network.
        hidden: widths of the layers after it; [] for a shallow network.
        points: P.
        pairs: add a function of each pair of numbers.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: networks, bias, critic.

    Raises:
        ValueError: observations other than numbers, too few or too many of them for `pairs`, or an argument out of
            range.
    """

    default_recipe = RECIPE
    networks: FeatureNetworks
    place: Tensor
    points: Tensor
    density: Tensor
    pairs: PairNetworks | None
    cells: Tensor
    joint: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        units: int = 16,
        hidden: tuple[int, ...] = (16,),
        points: int = 48,
        pairs: bool = False,
        clip: float = 0.2,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, units=units, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        check_at_least(2, points=points)
        table = observations_of(self.domain, "NAMPolicy")
        outputs, count = outputs_of(table), len(table.layout)
        if pairs and not 1 <= count * (count - 1) // 2 <= MOST_PAIRS:
            raise ValueError(
                f"pairs needs 2 to 25 observed numbers ({MOST_PAIRS} pairs); got {count}. Set pairs to false, or "
                "observe other numbers."
            )
        self.names = [column.name for column in table.layout]
        self.networks = FeatureNetworks(table, 1, outputs, units, tuple(hidden), "relu", 0.0)
        self.couples = list(combinations(range(count), 2)) if pairs else []
        self.names += [f"{self.names[k]} x {self.names[j]}" for k, j in self.couples]
        starts = [(table.slices[k].start, table.slices[j].start) for k, j in self.couples]
        self.pairs = PairNetworks(starts, outputs, units, tuple(hidden)) if pairs else None
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.critic = Critic(table, clip=clip)
        self.register_buffer("points", torch.linspace(-1, 1, points)[:, None].repeat(1, count))  # (P, K)
        self.register_buffer("density", torch.full((points, count), 1 / points))
        if pairs:
            self.register_buffer("cells", torch.linspace(-1, 1, CELLS)[:, None].repeat(1, count))  # (Q, K)
            uniform = torch.full((len(self.couples), CELLS, CELLS), CELLS**-2.0)
            self.register_buffer("joint", uniform)
        terms = [*((k,) for k in range(count)), *self.couples]
        self.register_buffer("place", column_support(table.slices, terms), persistent=False)
        self.space = score_space(self.domain)

    def groups(self) -> dict[str, nn.Module | nn.Parameter]:
        """The parameter groups by name; those of pairs belong to "networks"."""
        found = super().groups()
        pairs = found.pop("pairs", None)
        return found if pairs is None else {**found, "networks": nn.ModuleList([self.networks, pairs])}  # pyright: ignore[reportArgumentType]

    def functions(self, x: Tensor) -> Tensor:
        """The curves and surfaces (B, K, C') at inputs (B, F)."""
        means = (self.networks(self.points)[:, 0] * self.density[:, :, None]).sum(0)
        curves = self.networks(x)[:, 0] - means
        if self.pairs is None:
            return curves
        means = (self.pairs.at(self.grid()) * self.joint.flatten(1)[..., None]).sum(1)  # (M, C')
        return torch.cat([curves, self.pairs(x) - means], 1)

    def grid(self) -> Tensor:
        """The points (M, Q², 2) of all surfaces, the second number changing fastest."""
        first, second = torch.tensor(self.couples, device=self.cells.device).T
        up, right = self.cells.T[first, :, None], self.cells.T[second, None]  # (M, Q, 1) and (M, 1, Q)
        return torch.stack(torch.broadcast_tensors(up, right), -1).flatten(1, 2)

    def evidence(self, x: Tensor) -> Evidence:
        functions = self.functions(x)
        support = None if self.training else self.place.expand(x.shape[0], -1, -1)
        evidence = additive_evidence(functions, self.bias, support, self.domain)
        if self.training:
            evidence.state["functions"] = functions
        return evidence

    def units(self) -> tuple[Unit, ...]:
        mains = len(self.names) - len(self.couples)
        return tuple(Unit(name, "feature" if k < mains else "pair") for k, name in enumerate(self.names))

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        terms = super().losses(scores, evidence, batch)
        if "functions" in evidence.state:
            terms["output"] = evidence.state["functions"].square().sum(2).mean()
        return terms

    @action
    def initialise(self, projection_set: ProjectionSet) -> None:
        """Puts centres and points where states were observed."""
        inputs = projection_set.gather(torch.cat([batch["input"] for batch in projection_set]))
        self.networks.fit_centres(inputs)
        low, high = inputs.amin(0), inputs.amax(0)
        steps = torch.linspace(0, 1, len(self.points), device=inputs.device)[:, None]
        self.points.copy_(low + steps * (high - low))
        shares = (inputs - low) / (high - low).clamp_min(1e-9)
        nearest = (shares * (len(steps) - 1)).round().long()
        counts = torch.zeros_like(self.density).scatter_add_(0, nearest, torch.ones_like(inputs))
        self.density.copy_(counts / len(inputs))
        if self.couples:
            self.cells.copy_(low + torch.linspace(0, 1, CELLS, device=inputs.device)[:, None] * (high - low))
            first, second = torch.tensor(self.couples, device=inputs.device).T
            cell = (shares * (CELLS - 1)).round().long()
            cell = (cell[:, first] * CELLS + cell[:, second]).T  # (M, N)
            counts = torch.zeros_like(self.joint.flatten(1)).scatter_add_(1, cell, torch.ones_like(cell).to(inputs))
            self.joint.copy_((counts / len(inputs)).view_as(self.joint))

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """The curve of each observed number at P points, and the surface of each pair, in raw values."""
        columns = observations_of(self.domain, "NAMPolicy").layout
        with evaluating(self):
            values = per_class(self.functions(self.points), self.domain)  # (P, K, C)
        axes = axes_of(columns, self.points)
        found = [Curve(axis.column, (axis,), values[:, k], self.density[:, k]) for k, axis in enumerate(axes)]
        if self.pairs is None:
            return tuple(found)
        each = self.pairs.at(self.grid())  # (M, Q², C')
        each = per_class(each - (each * self.joint.flatten(1)[..., None]).sum(1, keepdim=True), self.domain)
        axes, names = axes_of(columns, self.cells), self.names[len(axes) :]
        for m, (k, j) in enumerate(self.couples):
            surface = each[m].unflatten(0, (CELLS, CELLS))
            found.append(Curve(names[m], (axes[k], axes[j]), surface, self.joint[m]))
        return tuple(found)


def axes_of(columns: Sequence[Column], points: Tensor) -> list[Axis]:
    """The axis of each column through points (P, K), in raw values."""
    raw = [[column.unscaled(x) for x in points[:, k].double().tolist()] for k, column in enumerate(columns)]
    return [Axis(column.name, "points", tuple(places)) for column, places in zip(columns, raw, strict=True)]
