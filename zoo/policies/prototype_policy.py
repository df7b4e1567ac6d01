"""PW-Net: a trained policy whose actions are explained by how similar the state is to known states.

Kenny, Tucker, Shah: "Towards Interpretable Deep Reinforcement Learning with Human-Friendly Prototypes", ICLR 2023.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence, Unit
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.encoders import create_encoder
from zoo.policies.layers.imitation import experienced, imitate
from zoo.policies.layers.policy import Policy, observations_of
from zoo.policies.layers.viper import Labelled, Teacher
from zoo.training.batch import Batch
from zoo.training.black_box_file import load_network
from zoo.training.modes import action
from zoo.training.ppo import world_of
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import task_loss
from zoo.utils.checks import check_at_least

RECIPE = Recipe(
    stages=(Stage("choose"), Stage("train", epochs=8, train=("transforms",))),
    lr=3e-3,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"policy": 1.0},
)


class Transforms(nn.Module):
    """One small network for each of P prototypes: linear, normalisation of each row, ReLU, linear.

    Args:
        count: P.
        channels: D, of the latent states.
        width: W.
    """

    def __init__(self, count: int, channels: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.first = nn.Parameter(torch.randn(count, channels, width) / channels**0.5)
        self.shift = nn.Parameter(torch.zeros(count, width))
        self.second = nn.Parameter(torch.randn(count, width, width) / width**0.5)
        self.bias = nn.Parameter(torch.zeros(count, width))

    def forward(self, z: Tensor) -> Tensor:
        """Latent states (B, P, D), the p-th of which goes through network p, to (B, P, W)."""
        h = torch.einsum("bpd,pdw->bpw", z, self.first) + self.shift
        h = F.relu(F.layer_norm(h, (self.width,)))
        return torch.einsum("bpw,pwv->bpv", h, self.second) + self.bias


@register("prototype_policy", modality="table", paper="Kenny et al., ICLR 2023", small=Small({"width": 3}))
class PrototypePolicy(Policy):
    """A policy that compares the state with a few real states, each of which argues for its action.

        z = backbone(x)                                         (B, D)      of a trained black box, frozen
        d_p = ‖t_p(z) - t_p(z_p)‖²                              (B, P)      t_p: a small network of prototype p
        a_p = log((d_p + 1) / (d_p + 1e-5))                     (B, P)
        score = W a          W = 1 for the action of the prototype, else 0, and stays so         (B, C)

    z_p is the latent state of a real state at all times: there is nothing to project. The states are given by `states`,
    or found by the action `choose` among those that the teacher visits: for each action, from the half in which most is
    at stake, those farthest apart in z. Only the t_p are trained, by cross-entropy with the teacher's actions on
    episodes of the teacher and of the policy itself.

    The teacher is the black box of the recipe (`teacher: {run: FOLDER, weight: 0, start: true}`, with the same
    backbone), or, without one, the written controller of the world; then the backbone stays as it was drawn.

    Differs from the published code: classes instead of values, so cross-entropy and weights of 0 and 1 (there: mean
    squared error, weights set by hand, and tanh or ReLU of the sum); several prototypes of each action; states that no
    one has chosen can be found; the policy's own states are in the training too.

    Args:
        domain: what is observed, and the actions (`data.domain`): a table of numbers.
        backbone: that of the teacher, see `zoo.networks.encoders.create_encoder`.
        per_action: prototypes of each action.
        width: of t_p.
        states: action -> its states, each a list of the F observed numbers, in their units; replaces `per_action`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: backbone, transforms.

    Raises:
        ValueError: observations other than numbers, states that are none, or an argument out of range.
    """

    default_recipe = RECIPE
    tasks = ("classification",)
    states: Tensor
    actions: Tensor
    chosen: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        backbone: str | dict[str, Any] = "mlp",
        per_action: int = 2,
        width: int = 8,
        states: dict[str, list[list[float]]] | None = None,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_at_least(1, per_action=per_action, width=width)
        self.observed, self.per_action = observations_of(self.domain, "PrototypePolicy"), per_action
        count = per_action * len(self.domain.classes) if states is None else sum(map(len, states.values()))
        self.backbone = create_encoder(backbone, self.domain)
        self.transforms = Transforms(count, self.backbone.channels, width)
        self.register_buffer("states", torch.zeros(count, len(self.observed.features)))
        self.register_buffer("actions", torch.full((count,), -1))
        self.register_buffer("chosen", torch.tensor(False))
        self.given = states
        if states is not None:
            self.check_states(states)

    def check_states(self, states: Mapping[str, Sequence[Sequence[float]]]) -> None:
        """Refuses states that are no observations.

        Raises:
            ValueError: an unknown action, no state at all, or another number of values.
        """
        count = len(self.observed.features)
        for name, rows in states.items():
            self.domain.class_index(name)
            for row in rows:
                if len(row) != count:
                    names = ", ".join(self.observed.features)
                    raise ValueError(f"states of '{name}' need {count} numbers each ({names}); got {row}.")
        if not any(states.values()):
            raise ValueError("states has no state; give one or more for an action, or leave it out.")

    def require_ready(self) -> None:
        if not bool(self.chosen):
            raise RuntimeError(
                "PrototypePolicy has no states to compare with; train it with its recipe, whose action `choose` finds "
                "them."
            )

    def evidence(self, x: Tensor) -> Evidence:
        with torch.no_grad():
            z, known = self.backbone(x), self.backbone(self.states)  # (B, D), (P, D)
        count = self.states.shape[0]
        here = self.transforms(z[:, None, :].expand(-1, count, -1))
        distance = (here - self.transforms(known[None])).square().sum(2)  # (B, P)
        activation = ((distance + 1) / (distance + 1e-5)).log()
        weights = (self.actions[:, None] == torch.arange(len(self.domain.classes), device=x.device)).to(activation)
        return Evidence(activation, None, {"unit_logits": weights.expand(x.shape[0], -1, -1)})

    def units(self) -> tuple[Unit, ...]:
        rows, found, counts = (
            self.observed.values(self.states.cpu()).tolist(),
            [],
            dict.fromkeys(self.domain.classes, 0),
        )
        for i, (state, number) in enumerate(zip(rows, self.actions.tolist(), strict=True)):
            if number < 0:
                found.append(Unit(f"(no state {i + 1})", "prototype"))
                continue
            name = self.domain.classes[number]
            counts[name] += 1
            seen = dict(zip(self.observed.features, (round(value, 4) for value in state), strict=True))
            found.append(Unit(f"{name} #{counts[name]}", "prototype", number, {"observation": seen}))
        return tuple(found)

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"policy": task_loss(scores, batch["target"], self.domain)}

    def experience(self) -> None:
        if (data := world_of(self)) is not None:
            imitate(self, data, self.teacher(data), self.current_epoch)

    def teacher(self, data: Any) -> Teacher:
        """What is imitated in a control problem."""
        given = self.recipe.teacher
        return Teacher(data, None if given is None else load_network(given.file).requires_grad_(False))

    @action
    def choose(self, projection_set: ProjectionSet) -> None:
        """Finds the states of the prototypes, or takes those that were given."""
        if self.given is not None:
            pairs = [(self.domain.class_index(name), row) for name, rows in self.given.items() for row in rows]
            self.states.copy_(self.observed.normalise(torch.tensor([row for _, row in pairs])))
            self.actions.copy_(torch.tensor([number for number, _ in pairs]))
        else:
            data = world_of(self)
            if data is None:
                rows = list(projection_set)
                x, y = (projection_set.gather(torch.cat([row[name] for row in rows])) for name in ("input", "target"))
                found = Labelled(x, y, torch.ones(len(x)))
            else:
                found = experienced(self.teacher(data), None, 0)
            self._spread(found)
        self.chosen.fill_(True)

    def _spread(self, found: Labelled) -> None:
        """Takes states of each action that are far apart, among those where most is at stake."""
        place = 0
        for c in range(len(self.domain.classes)):
            rows = (found.actions == c).nonzero().flatten()
            if len(rows):
                stake = found.weights[rows]
                rows = rows[stake >= stake.median()]
                x = found.inputs[rows].to(self.states)
                for i in farthest_first(self.backbone(x), self.per_action):
                    self.states[place], self.actions[place] = x[i], c
                    place += 1


def farthest_first(z: Tensor, count: int) -> list[int]:
    """Rows of z (N, D): the one nearest to the mean, then in turn the one farthest from all before; at most N."""
    first = int((z - z.mean(0)).square().sum(1).argmin())
    chosen, nearest = [first], (z - z[first]).square().sum(1)
    while len(chosen) < min(count, len(z)):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (z - z[chosen[-1]]).square().sum(1))
    return chosen
