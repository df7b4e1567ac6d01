"""A policy that is a sum of curves, one of each observed number.

The networks are those of Agarwal et al.: "Neural Additive Models", NeurIPS 2021, arXiv 2004.13912; that they choose
actions, and how they are trained, is a design of this package.
"""

from typing import Any

import torch
from torch import Tensor, nn

from zoo.core.additive_evidence import additive_evidence, outputs_of, per_class
from zoo.core.curves import Axis, Curve
from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.feature_networks import FeatureNetworks, column_support
from zoo.policies.layers.policy import Policy, observations_of
from zoo.training.batch import Batch
from zoo.training.modes import action, evaluating
from zoo.training.ppo import COEFFICIENTS, Critic
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space
from zoo.utils.checks import check_at_least

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
    small=Small({"units": 4, "hidden": [3], "points": 5}, scale={"networks.output": 4.0}),
)
class NAMPolicy(Policy):
    """A policy whose score of each action is a sum of learned curves, one of each observed number.

        f_k(x) = network_k(x_k) - its mean over the points           (B, K, C')
        score = b + Σ_k f_k(x)         (B, C)       for two actions the log-odds of the second

        loss = PPO + 1e-3 output       output = Σ_k f_k² / K, mean over steps;  PPO see `zoo.training.ppo`

    The action `initialise` puts the centres of the first layer at observed values, and P points on the range of each
    number, weighted by how often it was observed there. Curves have the mean 0 over these points at all times, so that
    `curves()` shows what the policy computes and nothing is left to be done after the training. The curves of all
    numbers are the complete policy.

    Differs from the published code: there is none of a policy; see `zoo.additive.nam.NAM` for the networks.

    Args:
        domain: what is observed, and the actions (`data.domain`): a table of numbers.
        units: units of the first layer of each network.
        hidden: widths of the layers after it; [] for a shallow network.
        points: P.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: networks, bias, critic.

    Raises:
        ValueError: observations other than numbers, or an argument out of range.
    """

    default_recipe = RECIPE
    networks: FeatureNetworks
    place: Tensor
    points: Tensor
    density: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        units: int = 16,
        hidden: tuple[int, ...] = (16,),
        points: int = 48,
        clip: float = 0.2,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, units=units, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        check_at_least(2, points=points)
        table = observations_of(self.domain, "NAMPolicy")
        outputs, count = outputs_of(table), len(table.layout)
        self.names = [column.name for column in table.layout]
        self.networks = FeatureNetworks(table, 1, outputs, units, tuple(hidden), "relu", 0.0)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.critic = Critic(table, clip=clip)
        self.register_buffer("points", torch.linspace(-1, 1, points)[:, None].repeat(1, count))  # (P, K)
        self.register_buffer("density", torch.full((points, count), 1 / points))
        self.register_buffer("place", column_support(table.slices, [(k,) for k in range(count)]), persistent=False)
        self.space = score_space(self.domain)

    def functions(self, x: Tensor) -> Tensor:
        """The curves (B, K, C') at inputs (B, F)."""
        means = (self.networks(self.points)[:, 0] * self.density[:, :, None]).sum(0)
        return self.networks(x)[:, 0] - means

    def evidence(self, x: Tensor) -> Evidence:
        functions = self.functions(x)
        support = None if self.training else self.place.expand(x.shape[0], -1, -1)
        evidence = additive_evidence(functions, self.bias, support, self.domain)
        if self.training:
            evidence.state["functions"] = functions
        return evidence

    def units(self) -> tuple[Unit, ...]:
        return tuple(Unit(name, "feature") for name in self.names)

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
        nearest = ((inputs - low) / (high - low).clamp_min(1e-9) * (len(steps) - 1)).round().long()
        counts = torch.zeros_like(self.density).scatter_add_(0, nearest, torch.ones_like(inputs))
        self.density.copy_(counts / len(inputs))

    @torch.no_grad()
    def curves(self) -> tuple[Curve, ...]:
        """The curve of each observed number at P points, in raw values."""
        columns = observations_of(self.domain, "NAMPolicy").layout
        with evaluating(self):
            values = per_class(self.functions(self.points), self.domain)  # (P, K, C)
        raw = [[column.unscaled(x) for x in self.points[:, k].double().tolist()] for k, column in enumerate(columns)]
        axes = [Axis(column.name, "points", tuple(places)) for column, places in zip(columns, raw, strict=True)]
        return tuple(Curve(axis.column, (axis,), values[:, k], self.density[:, k]) for k, axis in enumerate(axes))
