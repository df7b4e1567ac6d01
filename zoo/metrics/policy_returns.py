"""What a policy is worth: returns of its best actions, and whether what is shown acts as what was trained."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from zoo.core.module import SelfInterpretable
from zoo.training.modes import evaluating
from zoo.training.rollout import Act, Episodes, best_action, draws_of, greedy, interval, play

if TYPE_CHECKING:
    from zoo.data.synthetic.control import Control


@dataclass(frozen=True)
class Measured:
    """A mean return with its 95 % interval over episodes, by the percentile bootstrap."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, returns: Tensor) -> "Measured":
        """The mean of returns (N,)."""
        return cls(returns.mean().item(), *interval(returns))


@dataclass(frozen=True)
class PolicyReport:
    """The worth of a policy.

    Attributes:
        episodes: number of them; all policies begin in the same states.
        policy: return of its best actions.
        controller: of the written controller of the world.
        chance: of random actions.
        twin: of a black box; None without one.
        fidelity: share of the states that the policy reaches in which its action is the twin's (of values: R², which
            may be negative); without a twin, the written controller's.
        information_loss: return of the model as it is trained minus return of the model as it is shown, the actions of
            highest sum of contributions; None if its scores are not sums.
        different: share of the states in which these two choose different actions.
    """

    episodes: int
    policy: Measured
    controller: Measured
    chance: Measured
    twin: Measured | None
    fidelity: float
    information_loss: float | None
    different: float | None


@torch.no_grad()
def policy_report(model: SelfInterpretable, data: "Control", episodes: int, twin: nn.Module | None) -> PolicyReport:
    """Measures a policy by episodes that all begin in the same states.

    Args:
        model: the policy.
        data: the control problem.
        episodes: number of them.
        twin: a black box that gives scores of the same actions.
    """
    classes = model.domain.task == "classification"

    def played(act: Act, record: bool = False) -> Episodes:
        return play(data, act, episodes, draws_of(data, "test"), record)

    with evaluating(model):
        own = played(greedy(model), record=True)
        inputs, actions = torch.cat(own.inputs), torch.cat(own.actions).cpu()
        loss, different = None, None
        if model.additive:
            shown = played(lambda x: best_action(sums(model, x), classes))
            apart = best_action(sums(model, inputs), classes).cpu() - actions
            different = (apart.abs().reshape(len(apart), -1).amax(1) > 1e-4).float().mean().item()
            loss = (trained(model, data, episodes).returns.mean() - shown.returns.mean()).item()
    if twin is None:
        wanted = torch.from_numpy(data.world.controller(np.concatenate(own.states)))
    else:
        wanted = best_action(twin(inputs), classes)
    return PolicyReport(
        episodes,
        Measured.of(own.returns),
        Measured.of(play_states(data, episodes).returns),
        Measured.of(played(chance(data)).returns),
        None if twin is None else Measured.of(played(lambda x: best_action(twin(x), classes)).returns),
        agreement(actions, wanted, classes, data.world.bound),
        loss,
        different,
    )


def trained(model: SelfInterpretable, data: "Control", episodes: int) -> Episodes:
    """Episodes of the model in the mode of its training."""
    model.train()
    try:
        return play(data, greedy(model), episodes, draws_of(data, "test"))
    finally:
        model.eval()


def sums(model: SelfInterpretable, x: Tensor) -> Tensor:
    """Scores (B, C) as bias plus contributions."""
    evidence, rows = model.step(x.to(model.device))[1], x.shape[0]
    columns = []
    for c in range(len(model.domain.classes)):
        contributions, bias = model.attribute(evidence, torch.full((rows,), c, device=model.device))
        columns.append(bias + contributions.sum(1))
    return torch.stack(columns, 1)


def agreement(actions: Tensor, wanted: Tensor, classes: bool, bound: float) -> float:
    """Share of equal classes; of values, clipped to their bound, the share of variance that is explained (R²)."""
    if classes:
        return (actions == wanted).float().mean().item()
    actions, wanted = actions.double().clamp(-bound, bound), wanted.double().clamp(-bound, bound)
    spread = (wanted - wanted.mean(0)).square().sum()
    return (1 - (actions - wanted).square().sum() / spread.clamp_min(1e-12)).item()


def chance(data: "Control") -> Act:
    """The policy of random actions."""
    world, draws = data.world, np.random.default_rng(0)

    def act(x: Tensor) -> Tensor:
        if world.continuous:
            return torch.from_numpy(draws.uniform(-world.bound, world.bound, (len(x), len(world.actions))))
        return torch.from_numpy(draws.integers(len(world.actions), size=len(x)))

    return act


def play_states(data: "Control", episodes: int) -> Episodes:
    """Episodes of the written controller."""
    return play(data, data.world.controller, episodes, draws_of(data, "test"), sees_states=True)
