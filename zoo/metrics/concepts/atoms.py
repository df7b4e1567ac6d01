"""Whether trainings with other seeds find the same atoms."""

from collections.abc import Sequence
from itertools import combinations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F


def matched_cosines(first: Tensor, second: Tensor) -> Tensor:
    """Cosines (min(m, n),) of atoms (m, d) with different atoms (n, d), matched such that their sum is largest.

    Raises:
        ValueError: the atoms have different lengths, or there are none.
    """
    shapes = tuple(first.shape), tuple(second.shape)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or 0 in shapes[0] + shapes[1]:
        raise ValueError(f"expected atoms (m, d) and (n, d); got {shapes[0]} and {shapes[1]}.")
    cosines = F.normalize(first.detach().double(), dim=1) @ F.normalize(second.detach().double(), dim=1).T
    rows, columns = linear_sum_assignment(cosines.cpu().numpy(), maximize=True)
    return cosines[torch.as_tensor(rows), torch.as_tensor(columns)]


def atom_stability(dictionaries: Sequence[Tensor]) -> float:
    """Mean cosine of matched atoms over all pairs of dictionaries (m, d) from trainings with other seeds; 1 is best.

    As in Fel et al., "Archetypal SAE", ICML 2025, section 3: atoms are matched one to one. Leave dead atoms out: where
    numbers differ, the smaller dictionary is matched completely.

    Raises:
        ValueError: fewer than two dictionaries, or see `matched_cosines`.
    """
    if len(dictionaries) < 2:
        raise ValueError(f"stability needs at least 2 dictionaries; got {len(dictionaries)}.")
    means = [matched_cosines(a, b).mean() for a, b in combinations(dictionaries, 2)]
    return float(torch.stack(means).mean())
