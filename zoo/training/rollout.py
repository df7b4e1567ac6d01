"""What a policy experiences: steps in many worlds at once, with advantages, and complete episodes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from zoo.training.modes import evaluating

if TYPE_CHECKING:  # loading a model loads no data
    from zoo.data.synthetic.control import Control

Act = Callable[[Tensor], Tensor]  # inputs (N, F) -> actions (N,), or values (N, A)
CODES = {"train": 0, "val": 1, "test": 2, "collect": 3, "distil": 4}


@dataclass
class Episodes:
    """Episodes that were played to their end.

    Attributes:
        returns: (N,) sum of the rewards of each.
        inputs: what the policy read, in the order of the steps, if it was recorded: one (n_t, F) for each step, of the
            n_t episodes that had not ended.
        states: the states at those steps, (n_t, S).
        actions: what it did, one (n_t,) or (n_t, A) for each step.
    """

    returns: Tensor
    inputs: list[Tensor] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    actions: list[Tensor] = field(default_factory=list)


def draws_of(data: "Control", purpose: str, number: int = 0) -> np.random.Generator:
    """Random numbers that depend on the seed of the data, a purpose of `CODES` and a number alone."""
    return np.random.default_rng([data.seed, CODES[purpose], number])


@torch.no_grad()
def play(
    data: "Control",
    act: Any,
    count: int,
    draws: np.random.Generator,
    record: bool = False,
    sees_states: bool = False,
) -> Episodes:
    """Plays episodes with a policy, all at once.

    Args:
        data: the control problem.
        act: the policy, an `Act`; or a function from states (N, S) to actions, both of NumPy.
        count: number of episodes.
        draws: for their starts.
        record: whether to keep what was read and done.
        sees_states: whether the policy is such a function.
    """
    world = data.world
    state, returns, live = world.reset(count, draws), np.zeros(count), np.arange(count)
    found = Episodes(torch.zeros(0))
    for _ in range(world.limit):
        x = data.inputs(state)
        action = act(state) if sees_states else act(x).cpu().numpy()
        if record:
            found.inputs.append(x)
            found.states.append(state)
            found.actions.append(torch.from_numpy(action))
        step = world.step(state, action)
        returns[live] += step.reward
        state, live = step.state[~step.over], live[~step.over]
        if not len(live):
            break
    found.returns = torch.from_numpy(returns)
    return found


def best_action(scores: Tensor, classification: bool) -> Tensor:
    """The action of highest score (N,), or the values (N, A) themselves."""
    return scores.argmax(1) if classification else scores


def greedy(model: Any) -> Act:
    """The policy that takes the best action of a model.

    Args:
        model: a `zoo.training.staged_module.StagedModule`.
    """
    classification = model.domain.task == "classification"
    return lambda x: best_action(model.step(x.to(model.device))[0], classification)


@torch.no_grad()
def collect(model: Any, data: "Control", epoch: int) -> None:
    """Lets a model act in the worlds of the training, and makes the minibatches of the epoch from its steps.

    Actions are drawn from the policy. Advantages are estimated by generalised advantage estimation (Schulman et al.,
    ICLR 2016); where an episode was cut by its limit, the value of the next state counts.

    Args:
        model: with a `critic`, see `zoo.training.ppo.Critic`.
        data: the control problem; its worlds go on.
        epoch: number of the epoch, on which all draws depend.
    """
    world, draws, rows = data.world, draws_of(data, "collect", epoch), []
    state = world.reset(data.envs, draws) if data.running is None else data.running
    with evaluating(model):
        for _ in range(data.steps):
            x = data.inputs(state).to(model.device)
            spread = model.critic.distribution(model.step(x)[0])
            action = spread.sample()
            step = world.step(state, action.cpu().numpy())
            data.ages += 1
            shaped = data.discount * world.potential(step.state) * ~step.over - world.potential(state)
            done = step.over | (data.ages >= world.limit)
            rows.append(
                {
                    "input": x,
                    "target": action,
                    "log_probability": model.critic.log_probability(spread, action),
                    "reward": torch.from_numpy(step.reward + data.shaping * shaped).float(),
                    "next": data.inputs(step.state),
                    "over": torch.from_numpy(step.over),
                    "done": torch.from_numpy(done),
                }
            )
            state = np.where(done[:, None], world.reset(data.envs, draws), step.state)
            data.ages[done] = 0
        data.running = state
        found = {name: torch.stack([row[name].to(model.device) for row in rows]) for name in rows[0]}  # (T, N, ...)
        value, after = model.critic.value(found["input"]), model.critic.value(found["next"])
    advantage = advantages(found, value, after, data.discount, data.trace)
    found |= {"advantage": advantage, "value_target": advantage + value}
    kept = ("input", "target", "log_probability", "advantage", "value_target")
    flat = {name: found[name].flatten(0, 1) for name in kept}
    flat["advantage"] = (flat["advantage"] - flat["advantage"].mean()) / (flat["advantage"].std() + 1e-8)
    orders = [torch.randperm(len(flat["input"])) for _ in range(data.passes)]
    parts = [rows for order in orders for rows in order.split(data.batch_size)]
    data.minibatches.batches = [{name: values[rows] for name, values in flat.items()} for rows in parts]


def advantages(found: dict[str, Tensor], value: Tensor, after: Tensor, discount: float, trace: float) -> Tensor:
    """Generalised advantages (T, N): A_t = δ_t + γλ A_(t+1) within an episode, δ_t = r_t + γ V(s_(t+1)) - V(s_t).

    Args:
        found: "reward", "over" and "done", each (T, N).
        value: (T, N) of the states.
        after: (T, N) of the states that follow, which count 0 where the episode is over.
        discount: γ.
        trace: λ.
    """
    error = found["reward"] + discount * after * ~found["over"] - value
    advantage, last = torch.empty_like(error), torch.zeros_like(error[0])
    for t in range(len(error) - 1, -1, -1):
        last = error[t] + discount * trace * last * ~found["done"][t]
        advantage[t] = last
    return advantage


def interval(values: Tensor, draws: int = 1000) -> tuple[float, float]:
    """The 95 % interval of the mean of values (N,), by the percentile bootstrap."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(values), (draws, len(values)), generator=generator)
    low, high = torch.quantile(values.double().cpu()[drawn].mean(1), torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high
