"""VIPER: a policy that is a small decision tree, distilled from another policy.

Bastani, Pu, Solar-Lezama: "Verifiable Reinforcement Learning via Policy Extraction", NeurIPS 2018, arXiv 1805.08328.
"""

from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from zoo.core.evidence import Evidence
from zoo.core.registry import Small, register
from zoo.domain import Domain
from zoo.policies.layers.path_tree import PathTree, empty_tree, feature_support
from zoo.policies.layers.policy import observations_of
from zoo.policies.layers.tree_policy import TreePolicy
from zoo.policies.layers.viper import Labelled, Teacher, distil, fit_tree
from zoo.training.batch import Batch
from zoo.training.black_box_file import load_network
from zoo.training.modes import action
from zoo.training.ppo import world_of
from zoo.training.projection_set import ProjectionSet
from zoo.training.recipe import Recipe
from zoo.training.rollout import best_action
from zoo.training.stages import Stage
from zoo.training.tasks import as_logits, task_loss
from zoo.utils.checks import check_at_least, check_between

VALUES = ("value", "left", "right")
MOST = 64  # leaves, beyond which a tree is no explanation
RECIPE = Recipe(
    stages=(Stage("distil"), Stage("measure", epochs=1, train=())),
    lr=0.0,
    weight_decay=0.0,
    optimizer="adam",
    coefficients={"policy": 1.0},
)


@register("viper_tree", modality="table", paper="Bastani et al., NeurIPS 2018", small=Small({"leaves": 4}))
class VIPERTree(TreePolicy):
    """A decision tree over the observed numbers that imitates a teacher where the tree itself goes.

        score = value of the root + Σ over the splits on the path of (value of the child that is taken - value of i)
              = value of the leaf         (B, C)    shares of the teacher's actions, or their mean if they are values

    The action `distil` repeats: fit a tree by CART to all states so far, weighted by what is at stake there,
    max log π(a|s) - min log π(a|s) of the teacher; let the tree act, and label the states that it reaches by the
    teacher. The tree of highest measured return is kept. The teacher is the black box of the recipe (`teacher: {run:
    FOLDER, weight: 0}`) or, without one, the written controller of the world, in whose states everything has the
    weight 1. On plain rows one tree is fitted to the actions that are their targets.

    Every unit is a split; its activation is 1 where the path leads through it. `statements` is the rule of the leaf.

    Differs from the published code: states are weighted in the fit (there: drawn with probabilities proportional to the
    weights, with replacement, at most 200,000 of them); the best tree is chosen by one measurement of all (there:
    tournaments that halve); the size is a number of leaves (there: a depth of 12); values of actions are possible too.

    Args:
        domain: what is observed, and the actions (`data.domain`): a table of numbers.
        leaves: largest number, at most 64.
        rounds: trees that are fitted and played.
        episodes: that each plays.
        recipe: see `zoo.training.recipe.Recipe`; nothing is trained by gradients
            (parameter groups: value, left, right).

    Raises:
        ValueError: observations other than numbers, or an argument out of range.
    """

    default_recipe = RECIPE
    acts = False
    feature: Tensor
    threshold: Tensor
    below_left: Tensor
    below_right: Tensor
    value: Tensor
    left: Tensor
    right: Tensor
    grown: Tensor

    def __init__(
        self,
        domain: dict[str, Any] | Domain,
        leaves: int = 8,
        rounds: int = 10,
        episodes: int = 20,
        recipe: Recipe | None = None,
    ) -> None:
        super().__init__(domain, recipe)
        self.keep_arguments(locals())
        check_between(2, MOST, leaves=leaves)
        check_at_least(1, rounds=rounds, episodes=episodes)
        self.observed = observations_of(self.domain, "VIPERTree")
        self.leaves, self.rounds, self.episodes = leaves, rounds, episodes
        tree = empty_tree(leaves - 1, len(self.domain.classes))
        for name, tensor in tree._asdict().items():
            if name in VALUES:
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
        self.register_buffer("grown", torch.tensor(False))
        self.space = "probability" if self.domain.task == "classification" else "value"

    @property
    def tree(self) -> PathTree:
        """The tree."""
        return PathTree(*(getattr(self, name) for name in PathTree._fields))

    def require_ready(self) -> None:
        if not bool(self.grown):
            raise RuntimeError("VIPERTree has no tree yet; train it with its recipe, whose action `distil` grows one.")

    def evidence(self, x: Tensor) -> Evidence:
        sides = (x[:, self.feature.clamp_min(0)] > self.threshold).to(x)  # (B, I)
        support = feature_support(self.feature, x.shape[1]).expand(x.shape[0], -1, -1)
        return self.tree.evidence(sides, None if self.training else support)

    def splits(self) -> tuple[Tensor, Tensor]:
        return self.feature, self.threshold

    def losses(self, scores: Tensor, evidence: Evidence, batch: Batch) -> dict[str, Tensor]:
        return {"policy": task_loss(as_logits(scores, self.space), batch["target"], self.domain)}

    @action
    def distil(self, projection_set: ProjectionSet) -> None:
        """Grows the tree."""
        data, recipe = world_of(self), self.recipe
        if data is None:
            rows = list(projection_set)
            inputs, actions = (projection_set.gather(torch.cat([row[n] for row in rows])) for n in ("input", "target"))
            self.plant(self.fitted(Labelled(inputs, actions, torch.ones(len(inputs)))))
            return
        network = None if recipe.teacher is None else load_network(recipe.teacher.file).requires_grad_(False)
        teacher = Teacher(data, network)
        tree = distil(data, teacher, self.fitted, self.policy_of, self.rounds, self.episodes, rank_zero_info)
        self.plant(tree)

    def fitted(self, found: Labelled) -> PathTree:
        """A tree fitted to labelled states."""
        return fit_tree(found, self.leaves, len(self.domain.classes), self.domain.task == "classification")

    @torch.no_grad()
    def plant(self, tree: PathTree) -> None:
        """Makes a tree the model's own."""
        for name, tensor in tree._asdict().items():
            getattr(self, name).copy_(tensor)
        self.grown.fill_(True)

    def policy_of(self, tree: PathTree) -> Any:
        """The policy of a tree, as a function from inputs to actions; the tree becomes the model's own."""
        self.plant(tree)
        return lambda x: best_action(self.step(x.to(self.device))[0], self.domain.task == "classification")
