"""How the patches of two images are matched, as one value with checked fields."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from zoo.prototypes.layers.pairwise import Matches, match_by_mutual_patches, match_by_transport
from zoo.utils.checks import check_above, check_at_least, check_choice
from zoo.utils.errors import did_you_mean
from zoo.utils.functional import at_least_fp32

AT_ONCE = 10  # images compared at one time, which bounds memory
Method = Literal["emd", "mutual"]
Weights = Literal["correlation", "uniform"]
Flows = Literal["largest", "all"]


@dataclass(frozen=True)
class Matcher:
    """How the patches of two images are matched."""

    method: Method = "emd"
    """"emd": optimal transport; "mutual": mutual nearest patches."""
    pairs: int = 5
    """Number of patch pairs that an explanation shows, and that the value adds up (but for `flows: all`); at most the
    cells of the map."""
    weights: Weights = "correlation"
    """"correlation": by cross-correlations; "uniform": the same for every patch ("emd") or pair ("mutual")."""
    epsilon: float = 0.05
    """ε > 0, the entropic regularisation of "emd"."""
    steps: int = 20
    """Iterations of Sinkhorn's algorithm for "emd"."""
    flows: Flows = "largest"
    """Which flows of the plan "emd" adds up: the `pairs` "largest", as published, or "all", the earth mover's
    distance of the paper's formula."""

    def __post_init__(self) -> None:
        check_choice(get_args(Method), method=self.method)
        check_choice(get_args(Weights), weights=self.weights)
        check_choice(get_args(Flows), flows=self.flows)
        check_above(0, epsilon=self.epsilon)
        check_at_least(1, steps=self.steps, pairs=self.pairs)

    def match(self, patches: Tensor, others: Tensor) -> Matches:
        """Matches patches (B, n, d) with those of N other images, (B, N, n, d)."""
        uniform = self.weights == "uniform"
        if self.method == "emd":
            every = self.flows == "all"
            return match_by_transport(patches, others, self.pairs, self.epsilon, self.steps, uniform, every)
        return match_by_mutual_patches(patches, others, self.pairs, uniform)

    def match_bank(self, patches: Tensor, bank: Tensor, number: Tensor) -> Matches:
        """Matches patches (B, n, d) with images `number` (B, N) of a bank (E, n, d), a few images at a time."""
        found = [self.match(patches, at_least_fp32(bank[part])) for part in number.split(AT_ONCE, 1)]
        return Matches(*(torch.cat(tensors, 1) for tensors in zip(*found, strict=True)))


def parse_matcher(given: Matcher | Mapping[str, Any] | None) -> Matcher:
    """Reads a matcher from plain data, as it stands in a config or a checkpoint.

    Raises:
        ValueError: an unknown key, or a field out of range.
    """
    if isinstance(given, Matcher):
        return given
    known = [field.name for field in fields(Matcher)]
    for key in given or {}:
        if key not in known:
            raise ValueError(f"a matcher has no key '{key}'; {did_you_mean(key, known)}")
    return Matcher(**(given or {}))
