"""A complete binary tree as tensors: routing of a batch through its nodes to its leaves, level by level.

Nodes are numbered from the root, 0, level by level; below node n are 2n + 1 (left: absent) and 2n + 2 (right: present).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.utils.functional import at_least_fp32


class Tree(nn.Module):
    """N = 2^h - 1 nodes with a yes-no question each, and L = 2^h leaves with distributions over C classes.

    Questions are answered by numbers in [0, 1], the share of an input that goes to the right.

    Buffers: `leaves` (L, C), logits of the distributions · `cuts` (N,) 1 at nodes whose left side was cut off, so that
    everything goes right, -1 where the right side was cut off, else 0.

    Args:
        depth: h.
        classes: C.
    """

    leaves: Tensor
    cuts: Tensor

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        self.depth, self.count, self.nodes = depth, 2**depth, 2**depth - 1
        self.register_buffer("leaves", torch.zeros(self.count, classes))
        self.register_buffer("cuts", torch.zeros(self.nodes, dtype=torch.int8))

    def distributions(self) -> Tensor:
        """(L, C) class distributions of the leaves."""
        return at_least_fp32(self.leaves).softmax(1)

    # Routing

    def cut(self, presence: Tensor) -> Tensor:
        """Answers (B, N) in [0, 1]: presence, or a constant at nodes of which one side was cut off."""
        return torch.where(self.cuts == 0, presence, (self.cuts > 0).to(presence))

    def arrivals(self, answers: Tensor) -> Tensor:
        """(B, L) share of each input that arrives at each leaf; sums to 1."""
        return self._flows(answers)[-1]

    def reach(self, answers: Tensor) -> Tensor:
        """(B, N) share of each input that reaches each node."""
        return torch.cat(self._flows(answers)[:-1], 1)

    def _flows(self, answers: Tensor) -> list[Tensor]:
        """Shares that reach the nodes of each level, and last the leaves: (B, 2^i) each."""
        flows = [torch.ones_like(answers[:, :1])]
        for i in range(self.depth):
            right = flows[-1] * answers[:, _level(i)]
            flows.append(torch.stack([flows[-1] - right, right], 2).flatten(1))
        return flows

    def alternatives(self, answers: Tensor, reach: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N) of `target` if the answer of each node alone were 0, and if it were 1.

        The score is linear in each answer, with slope reach · (value of the right side - value of the left side).

        Args:
            answers: (B, N).
            reach: (B, N), see `reach`.
            target: (B,) classes.
        """
        value, slopes = self.distributions().T[target], []  # (B, L)
        for i in reversed(range(self.depth)):
            left, right = value.unflatten(1, (-1, 2)).unbind(2)
            slopes.append(reach[:, _level(i)] * (right - left))
            value = torch.lerp(left, right, answers[:, _level(i)])
        slope = torch.cat(slopes[::-1], 1)
        return value - slope * answers, value + slope * (1 - answers)

    # Paths

    def best(self, answers: Tensor) -> Tensor:
        """(B,) the leaf at which the largest share arrives."""
        return self.arrivals(answers).argmax(1)

    def turns(self, leaf: Tensor) -> Tensor:
        """(B, N) turns of the paths to leaves (B,): 1 to the right, -1 to the left; 0 off the path."""
        turns = torch.zeros(leaf.shape[0], self.nodes, device=leaf.device)
        for i in range(self.depth):
            node = 2**i - 1 + (leaf >> (self.depth - i))
            right = (leaf >> (self.depth - 1 - i)) & 1
            turns = turns.scatter(1, node[:, None], (2 * right - 1)[:, None].to(turns))
        return turns

    def along(self, leaf: Tensor) -> Tensor:
        """Answers (B, N) of 0 and 1 that lead to leaves (B,); 0 off the path."""
        return self.turns(leaf).clamp_min(0)

    def path(self, leaf: int) -> list[tuple[int, bool]]:
        """The nodes on the path to a leaf, and whether it turns right there."""
        turns = [(leaf >> (self.depth - 1 - i)) & 1 for i in range(self.depth)]
        nodes = [2**i - 1 + (leaf >> (self.depth - i)) for i in range(self.depth)]
        return [(node, bool(turn)) for node, turn in zip(nodes, turns, strict=True)]

    def outline(self, node: int = 0) -> dict[str, Any]:
        """The tree below a node as nested plain data, without the sides that were cut off.

        A node is {"unit": node, "absent": below, "present": below}, a leaf {"class": its most probable class,
        "probability": of that class}.
        """
        if node >= self.nodes:
            probability, label = at_least_fp32(self.leaves[node - self.nodes]).softmax(0).max(0)
            return {"class": int(label), "probability": float(probability)}
        if cut := int(self.cuts[node]):
            return self.outline(2 * node + (2 if cut > 0 else 1))
        return {"unit": node, "absent": self.outline(2 * node + 1), "present": self.outline(2 * node + 2)}

    def classes_below(self) -> Tensor:
        """(C, N) bool, which classes are the most probable of a leaf below each node, without sides cut off."""
        below, levels = F.one_hot(self.leaves.argmax(1), self.leaves.shape[1]).bool(), []  # (L, C)
        for i in reversed(range(self.depth)):
            left, right = below.unflatten(0, (-1, 2)).unbind(1)
            cut = self.cuts[_level(i), None]
            below = (left & (cut <= 0)) | (right & (cut >= 0))
            levels.append(below)
        return torch.cat(levels[::-1]).T

    # Learning without gradient

    @torch.no_grad()
    def gain(self, answers: Tensor, target: Tensor) -> Tensor:
        """(L, C) Σ_x softmax(c_l) y π_l / score: the part of each label's probability that is due to each leaf.

        Args:
            answers: (B, N).
            target: (B,) labels.
        """
        arrivals, distributions = self.arrivals(at_least_fp32(answers)), self.distributions()
        part = arrivals * distributions.T[target]  # (B, L)
        part = part / part.sum(1, keepdim=True).clamp_min(torch.finfo(part.dtype).tiny)
        return torch.zeros_like(distributions).T.index_add(0, target, part).T

    @torch.no_grad()
    def learn(self, gain: Tensor, loss: Tensor) -> None:
        """Adds gain - loss (L, C) to the leaves, in place; rounding never makes them negative."""
        self.leaves.sub_(loss).clamp_min_(0).add_(gain)

    @torch.no_grad()
    def prune(self, tau: float) -> Tensor:
        """Cuts off every subtree whose leaves have no class above `tau`; returns (N,) which nodes remain.

        Raises:
            ValueError: no leaf would remain.
        """
        kept = self.distributions().amax(1) > tau  # (L,), then of each level above: whether anything below is kept
        if not kept.any():
            top = float(self.distributions().max())
            raise ValueError(
                f"no leaf has a class above tau = {tau:.3g} (the largest probability is {top:.3g}), so pruning would "
                "cut off the entire tree; train longer, or lower tau."
            )
        alive = torch.zeros(self.nodes, dtype=torch.bool, device=kept.device)
        for i in reversed(range(self.depth)):
            left, right = kept.unflatten(0, (-1, 2)).unbind(1)
            self.cuts[_level(i)] = (right & ~left).to(torch.int8) - (left & ~right).to(torch.int8)
            alive[_level(i)] = left & right
            kept = left | right
        return alive


def _level(number: int) -> slice:
    """The nodes of a level, counted from 0."""
    return slice(2**number - 1, 2 ** (number + 1) - 1)
