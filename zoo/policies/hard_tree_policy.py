"""SYMPOL: a hard decision tree that is trained by the policy gradient itself, so that nothing is lost by showing it.

Marton, Grams, Vogt, Lüdtke, Bartelt, Stuckenschmidt: "Mitigating Information Loss in Tree-Based Reinforcement Learning
via Direct Optimization", ICLR 2025, arXiv 2408.08761.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.networks.entmax import entmax15
from zoo.policies.layers.path_tree import feature_support
from zoo.policies.layers.policy import observations_of
from zoo.policies.layers.tree_policy import TreePolicy
from zoo.training.batch import Batch
from zoo.training.ppo import COEFFICIENTS, Critic
from zoo.training.recipe import Recipe
from zoo.training.stages import Stage
from zoo.training.tasks import score_space
from zoo.utils.checks import check_between

MEMORY = 0.99  # of the running shares of the leaves, for each step of the optimizer
RECIPE = Recipe(
    stages=(Stage("train", epochs=150, train=("thresholds", "choices", "leaves", "critic"), cosine=True),),
    lr={"thresholds": 3e-3, "choices": 3e-2, "leaves": 2e-2, "critic": 2e-3},
    weight_decay=0.0,
    optimizer="adamw",
    coefficients=COEFFICIENTS,
)


@register("hard_tree_policy", modality="table", paper="Marton et al., ICLR 2025", small=Small({"depth": 2}))
class HardTreePolicy(TreePolicy):
    """A complete binary tree of depth d with hard splits, trained by proximal policy optimisation.

        choice_i = one-hot of the largest of U_i          (I, F)    the number that split i reads, I = 2^d - 1
        right_i = [x . choice_i > V_i . choice_i]         (B, I) in {0, 1}
        score = L of the leaf                             (B, C)
              = value of the root + Σ over the splits on the path of (value of the child that is taken - value of i)

    The value of a split is the mean of the leaves below it, weighted by how often each was reached in training (a
    running mean), so that contributions say how far each condition moves the scores. In training, forward values are
    those of the hard tree; gradients are those of entmax-1.5 of U for the choice, and of (softsign(x - V) + 1) / 2 for
    the side (straight-through). The tree that is shown is the tree that was trained.

    Every unit is a split; its activation is 1 where the path leads through it. `statements` is the rule of the leaf.

    Differs from the published code: PyTorch; one tree, without weights of an ensemble; weights are not averaged over
    epochs, the epoch of highest return is kept instead; steps and minibatches have a constant size (there: they grow);
    no weight decay; an observation that equals the threshold goes left (there: rounded at exactly one half).

    Args:
        domain: what is observed, and the actions (`data.domain`): a table of numbers.
        depth: d, from 1 to 8.
        clip: see `zoo.training.ppo.Critic`.
        recipe: see `zoo.training.recipe.Recipe`; parameter groups: thresholds (V), choices (U), leaves (L), critic.

    Raises:
        ValueError: observations other than numbers, or an argument out of range.
    """

    default_recipe = RECIPE
    shares: Tensor

    def __init__(
        self, domain: dict[str, Any] | Domain, depth: int = 3, clip: float = 0.2, recipe: Recipe | None = None
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_between(1, 8, depth=depth)
        self.observed, self.depth = observations_of(self.domain, "HardTreePolicy"), depth
        splits, features = 2**depth - 1, len(self.observed.features)
        self.thresholds = nn.Parameter(0.05 * torch.randn(splits, features))
        self.choices = nn.Parameter(0.05 * torch.randn(splits, features))
        self.leaves = nn.Parameter(0.05 * torch.randn(splits + 1, len(self.domain.classes)))
        self.critic = Critic(self.observed, clip=clip)
        self.register_buffer("shares", torch.full((splits + 1,), 1 / (splits + 1)))  # how often a leaf is reached
        self.space = score_space(self.domain)

    @property
    def feature(self) -> Tensor:
        """(I,) number of the input that each split reads."""
        return self.choices.argmax(1)

    @property
    def threshold(self) -> Tensor:
        """(I,) the right side is taken above it."""
        return self.thresholds.gather(1, self.feature[:, None])[:, 0]

    def evidence(self, x: Tensor) -> Evidence:
        sides = self._soft_sides(x) if self.training else (x[:, self.feature] > self.threshold).to(x)
        reached = [torch.ones_like(x[:, :1])]
        for level in range(self.depth):
            right = sides[:, 2**level - 1 : 2 ** (level + 1) - 1]
            reached.append(torch.stack([reached[-1] * (1 - right), reached[-1] * right], 2).flatten(1))
        value, children = self._values()
        taken = sides[:, :, None]
        steps = taken * children[1::2] + (1 - taken) * children[::2] - value
        support = None if self.training else feature_support(self.feature, x.shape[1]).expand(x.shape[0], -1, -1)
        state = {"unit_logits": steps, "bias": value[0].expand(x.shape[0], -1), "side": sides, "leaf": reached[-1]}
        return Evidence(torch.cat(reached[:-1], 1), support, state)

    def _soft_sides(self, x: Tensor) -> Tensor:
        """The hard sides (B, I), with gradients to choices and thresholds."""
        soft_choice = entmax15(self.choices)
        hard = F.one_hot(self.feature, x.shape[1]).to(x)
        choice = soft_choice + (hard - soft_choice).detach()  # (I, F)
        margin = x @ choice.T - (self.thresholds * choice).sum(1)
        soft = (F.softsign(margin) + 1) / 2
        return soft + ((margin > 0).to(x) - soft).detach()

    def _values(self) -> tuple[Tensor, Tensor]:
        """Values of the splits (I, C), and of their children, left and right in turn (2 I, C)."""
        levels: list[Tensor] = [self.leaves]
        shares = self.shares.clamp_min(1e-6)[:, None]
        for _ in range(self.depth):
            below, total = levels[0], shares[::2] + shares[1::2]
            levels.insert(0, (below[::2] * shares[::2] + below[1::2] * shares[1::2]) / total)
            shares = total
        return torch.cat(levels[:-1]), torch.cat(levels[1:])

    def splits(self) -> tuple[Tensor, Tensor]:
        return self.feature, self.threshold

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        if self.training:
            reached = evidence.state["leaf"].detach().mean(0)
            self.shares.mul_(MEMORY).add_((1 - MEMORY) * reached.to(self.shares))
        return super().losses(scores, evidence, batch)
