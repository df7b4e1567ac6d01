"""Similarities of patches and prototypes, as functions of their squared distance; and that of B-cos networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.utils.checks import check_choice
from zoo.utils.functional import log_similarity

EPSILON = 1e-4  # of the logarithmic similarity
TINY = 1e-12


@dataclass(frozen=True)
class Similarity:
    """A similarity of patches z and prototypes p as a function of d = |z - p|².

    Attributes:
        of: squared distances to similarities, largest for an exact copy.
        support: squared distances to [0, 1], where 1 is an exact copy.
        unit_length: whether z and p are scaled to unit length before they are compared.
        largest: the similarity of an exact copy.
    """

    of: Callable[[Tensor], Tensor]
    support: Callable[[Tensor], Tensor]
    unit_length: bool = False
    largest: float = 1.0


def _log(distances: Tensor) -> Tensor:
    return log_similarity(distances, EPSILON)


def _log_support(distances: Tensor) -> Tensor:
    return (_log(distances) / -math.log(EPSILON)).clamp(0, 1)


def _cosine(distances: Tensor) -> Tensor:
    return 1 - distances / 2


def _cosine_support(distances: Tensor) -> Tensor:
    return (1 - distances / 4).clamp(0, 1)


def _exponential(distances: Tensor) -> Tensor:
    return torch.exp(-torch.sqrt(distances + 1e-12))  # the slope of the root is infinite at 0


LOG = Similarity(_log, _log_support, largest=-math.log(EPSILON))
"""log((d + 1) / (d + ε)), of patches in [0, 1]; ε = 1e-4."""
COSINE = Similarity(_cosine, _cosine_support, unit_length=True)
"""z·p = 1 - d / 2 of vectors of unit length."""
EXPONENTIAL = Similarity(_exponential, _exponential)
"""exp(-√d) in [0, 1]."""
SIMILARITIES = {"log": LOG, "cosine": COSINE}


def find_similarity(name: str) -> Similarity:
    """A similarity by name.

    Raises:
        ValueError: there is no similarity of that name.
    """
    check_choice(SIMILARITIES, similarity=name)
    return SIMILARITIES[name]


def bcos_similarity(z: Tensor, supports: Tensor) -> tuple[Tensor, Tensor]:
    """cos(z, s)² |z| of vectors z (B, D), and its factor |cos(z, s)|, (B, E) each.

    Args:
        z: vectors.
        supports: s (E, D), or for each of the vectors its own, (B, E, D).
    """
    along = (F.normalize(supports, dim=-1) @ z[:, :, None]).squeeze(2)
    factor = along.abs() / z.norm(dim=1, keepdim=True).clamp_min(TINY)
    return along * factor, factor
