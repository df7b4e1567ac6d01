"""Proximal policy optimisation: what a policy has while it trains, and the terms of its loss.

Schulman, Wolski, Dhariwal, Radford, Klimov: "Proximal Policy Optimization Algorithms", 2017, arXiv 1707.06347.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F
from torchmetrics import Metric

from zoo.domain import Domain
from zoo.networks.table_encoders import MLP
from zoo.training.batch import Batch
from zoo.training.rollout import collect, draws_of, greedy, interval, play
from zoo.training.tasks import task_loss

COEFFICIENTS = {"policy": 1.0, "value": 0.5, "entropy": 0.01}
Spread = Categorical | Normal


class Critic(nn.Module):
    """The value of a state, and for actions that are values how far they are explored; used in training alone.

        policy = -mean min(r A, clip(r, 1 - c, 1 + c) A)         r: probability of the action now over that when acting
        value = mean (V(s) - target)² / 2, in units of the scale of returns
        entropy = -mean entropy of the policy, so that a positive coefficient rewards exploration

    Args:
        domain: of the policy.
        widths: hidden layers of V, with tanh.
        clip: c.
        scale: V is the network's output times this, about the size of returns.

    Attributes:
        log_deviation: (A,) logarithm of the standard deviation of values in training; none of classes.
    """

    def __init__(
        self, domain: Domain, widths: tuple[int, ...] = (32, 32), clip: float = 0.2, scale: float = 50.0
    ) -> None:
        super().__init__()
        self.domain, self.clip, self.scale = domain, clip, scale
        self.layers = MLP(domain.shape[0], widths, "tanh")
        self.head = nn.Linear(widths[-1], 1)
        values = len(domain.classes) if domain.task == "regression" else 0
        self.log_deviation = nn.Parameter(torch.zeros(values))

    def value(self, x: Tensor) -> Tensor:
        """Values (...,) of inputs (..., F)."""
        return self.scale * self.head(self.layers(x))[..., 0]

    def distribution(self, scores: Tensor) -> Spread:
        """The distribution of actions, from scores (B, C)."""
        if self.domain.task == "classification":
            return Categorical(logits=scores, validate_args=False)
        return Normal(scores, self.log_deviation.exp().expand_as(scores), validate_args=False)

    def log_probability(self, spread: Spread, action: Tensor) -> Tensor:
        """(B,) of actions (B,) or (B, A)."""
        found = spread.log_prob(action)
        return found if found.ndim == 1 else found.sum(1)

    def terms(self, scores: Tensor, batch: Batch) -> dict[str, Tensor]:
        """The terms of the loss; of a batch without advantages the imitation of its actions, as "policy"."""
        if "advantage" not in batch:
            return {"policy": task_loss(scores, batch["target"], self.domain)}
        spread = self.distribution(scores)
        ratio = (self.log_probability(spread, batch["target"]) - batch["log_probability"]).exp()
        advantage = batch["advantage"]
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        error = (self.value(batch["input"]) - batch["value_target"]) / self.scale
        entropy = spread.entropy()
        return {
            "policy": -torch.minimum(ratio * advantage, clipped * advantage).mean(),
            "value": 0.5 * F.mse_loss(error, torch.zeros_like(error)),
            "entropy": -(entropy if entropy.ndim == 1 else entropy.sum(1)).mean(),
        }


class ReturnReport(Metric):
    """Mean return of episodes with its 95 % interval, by the percentile bootstrap over episodes."""

    is_differentiable, higher_is_better, full_state_update = False, True, False
    returns: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("returns", [], dist_reduce_fx="cat")

    def update(self, returns: Tensor) -> None:
        """Adds returns (N,)."""
        self.returns.append(returns)

    def compute(self) -> dict[str, Tensor]:
        """The metrics by name."""
        values = torch.cat(self.returns)
        low, high = interval(values)
        found = {"return": values.mean(), "return_low": low, "return_high": high, "episodes": len(values)}
        return {name: torch.as_tensor(value) for name, value in found.items()}


def world_of(model: Any) -> Any:
    """The control problem of a running fit or test; None if its data are plain rows."""
    trainer = model._trainer
    data = None if trainer is None else getattr(trainer, "datamodule", None)
    return data if hasattr(data, "world") else None


def collect_steps(model: Any) -> None:
    """Before an epoch: lets the model act, if it has a world and learns from what it does."""
    if (data := world_of(model)) is not None and hasattr(model, "critic"):
        collect(model, data, model.current_epoch)


def evaluate_episodes(model: Any, split: str) -> None:
    """Plays the episodes of a split with the best actions, and logs their mean return; it is the monitor of a fit."""
    data = world_of(model)
    returns = play(data, greedy(model), data.episodes[split], draws_of(data, split)).returns
    if model.report is not None:
        model.report.update(returns)
    mean = returns.mean().float()
    options: Any = {"on_step": False, "on_epoch": True, "batch_size": 1}
    model.log(f"{split}/return", mean, prog_bar=split == "val", **options)
    if split == "val":
        model.log("val/loss", -mean, **options)
        if model.in_last_stage:
            model.log("monitor", -mean, **options)
