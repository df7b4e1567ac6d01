"""A complete binary tree as tensors: what reaches its nodes and leaves, level by level, for a whole batch.

Nodes are numbered from the root, 0, level by level; below node n are 2n + 1 (left: absent) and 2n + 2 (right: present).
"""

from typing import Any

import torch
from torch import Tensor, nn


class Tree(nn.Module):
    """N = 2^h - 1 questions and L = 2^h leaves with distributions over C classes.

    Buffers: `leaves` (L, C), whose softmax are the distributions · `cuts` (N,) 1 where everything goes right because
    the left side was cut off, -1 where everything goes left, else 0.

    Args:
        depth: h.
        classes: C.
    """

    def __init__(self, depth: int, classes: int) -> None:
        super().__init__()
        self.depth, self.count, self.nodes = depth, 2**depth, 2**depth - 1
        self.register_buffer("leaves", torch.zeros(self.count, classes))
        self.register_buffer("cuts", torch.zeros(self.nodes, dtype=torch.int8))

    def distributions(self) -> Tensor:
        """(L, C)."""
        return self.leaves.float().softmax(1)

    def cut(self, presence: Tensor) -> Tensor:
        """Answers (B, N) in [0, 1], with those that are fixed because one side was cut off."""
        return torch.where(self.cuts == 0, presence, (self.cuts > 0).to(presence))

    def level(self, number: int) -> slice:
        """The nodes of a level, from 0."""
        return slice(2**number - 1, 2 ** (number + 1) - 1)

    def _flows(self, answers: Tensor) -> list[Tensor]:
        """What reaches the nodes of each level, and last the leaves: (B, 2^i) each."""
        flows = [torch.ones_like(answers[:, :1])]
        for i in range(self.depth):
            right = flows[-1] * answers[:, self.level(i)]
            flows.append(torch.stack([flows[-1] - right, right], 2).flatten(1))
        return flows

    def arrivals(self, answers: Tensor) -> Tensor:
        """(B, L) what reaches each leaf; sums to 1."""
        return self._flows(answers)[-1]

    def reach(self, answers: Tensor) -> Tensor:
        """(B, N) what reaches each node."""
        return torch.cat(self._flows(answers)[:-1], 1)

    def alternatives(self, answers: Tensor, reach: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The score of `target` (B,) if a node's answer alone were 0, and if it were 1, (B, N) each.

        The score is linear in each answer, with slope reach (value of the right side - value of the left side).
        """
        value, slopes = self.distributions().T[target], []  # (B, L)
        for i in reversed(range(self.depth)):
            left, right = value.unflatten(1, (-1, 2)).unbind(2)
            slopes.append(reach[:, self.level(i)] * (right - left))
            value = torch.lerp(left, right, answers[:, self.level(i)])
        slope = torch.cat(slopes[::-1], 1)
        return value - slope * answers, value + slope * (1 - answers)

    def best(self, answers: Tensor) -> Tensor:
        """(B,) the leaf that most reaches."""
        return self.arrivals(answers).argmax(1)

    def turns(self, leaf: Tensor) -> Tensor:
        """(B, N) on the way to each leaf (B,) 1 where it turns right, -1 where it turns left; 0 away from it."""
        turns = torch.zeros(leaf.shape[0], self.nodes, device=leaf.device)
        for i in range(self.depth):
            node = 2**i - 1 + (leaf >> (self.depth - i))
            right = (leaf >> (self.depth - 1 - i)) & 1
            turns = turns.scatter(1, node[:, None], (2 * right - 1)[:, None].to(turns))
        return turns

    def along(self, leaf: Tensor) -> Tensor:
        """Answers (B, N) of 0 and 1 that lead to one leaf (B,) alone; 0 away from the path."""
        return self.turns(leaf).clamp_min(0)

    def path(self, leaf: int) -> list[tuple[int, bool]]:
        """The nodes on the way to a leaf, and whether it turns right there."""
        turns = [(leaf >> (self.depth - 1 - i)) & 1 for i in range(self.depth)]
        nodes = [2**i - 1 + (leaf >> (self.depth - i)) for i in range(self.depth)]
        return [(node, bool(turn)) for node, turn in zip(nodes, turns, strict=True)]

    def outline(self, node: int = 0) -> dict[str, Any]:
        """What is left of the tree below a node as nested plain data, without the sides that were cut off.

        A question is {"unit": node, "absent": below, "present": below}, a leaf {"class": its likeliest class,
        "probability": of that class}.
        """
        if node >= self.nodes:
            probability, label = self.leaves[node - self.nodes].float().softmax(0).max(0)
            return {"class": int(label), "probability": float(probability)}
        if cut := int(self.cuts[node]):
            return self.outline(2 * node + (2 if cut > 0 else 1))
        return {"unit": node, "absent": self.outline(2 * node + 1), "present": self.outline(2 * node + 2)}

    # Learning without gradient

    @torch.no_grad()
    def gain(self, answers: Tensor, target: Tensor) -> Tensor:
        """(L, C) Σ_x softmax(c_l) y π_l / score: how much of each label's probability each leaf accounts for."""
        arrivals, distributions = self.arrivals(answers.float()), self.distributions()
        share = arrivals * distributions.T[target]  # (B, L)
        share = share / share.sum(1, keepdim=True).clamp_min(torch.finfo(share.dtype).tiny)
        return torch.zeros_like(distributions).T.index_add(0, target, share).T

    @torch.no_grad()
    def learn(self, gain: Tensor, loss: Tensor) -> None:
        """Leaves lose and gain; rounding never makes them negative."""
        self.leaves.sub_(loss).clamp_min_(0).add_(gain)

    @torch.no_grad()
    def prune(self, tau: float) -> Tensor:
        """Cuts off every subtree whose leaves all have no class above `tau`; (N,) which nodes are left.

        Raises:
            ValueError: no leaf would be left.
        """
        kept = self.distributions().amax(1) > tau  # (L,), then of each level above: whether anything below is kept
        if not kept.any():
            top = float(self.distributions().max())
            raise ValueError(
                f"no leaf has a class above tau = {tau:.3g} (the largest probability is {top:.3g}), so pruning would "
                "cut off the whole tree; train longer, or lower tau."
            )
        alive = torch.zeros(self.nodes, dtype=torch.bool, device=kept.device)
        for i in reversed(range(self.depth)):
            left, right = kept.unflatten(0, (-1, 2)).unbind(1)
            self.cuts[self.level(i)] = (right & ~left).to(torch.int8) - (left & ~right).to(torch.int8)
            alive[self.level(i)] = left & right
            kept = left | right
        return alive
