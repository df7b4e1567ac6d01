"""The terms that make discovered concepts few, sharp, consistent and different from each other, in closed form.

Wang, Li, Nakashima, Nagahara: "Learning Bottleneck Concepts in Image Classification" (BotCL), CVPR 2023,
arXiv 2304.10131, section 3.3.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def retrieval(codes: Tensor, target: Tensor, scale: float = 10 / 32) -> Tensor:
    """Codes of one class attract each other, codes of different classes repel: a logistic loss over all pairs.

        mean over pairs of w_ij (log(1 + exp s_ij) - S_ij s_ij), s_ij = scale u_i·u_j, S_ij = 1 in one class,
        w_ij = B² / (number of pairs of that kind), the diagonal included

    Args:
        codes: u, (B, k) in [-1, 1].
        target: (B,) classes.
        scale: of the similarity.
    """
    similarity = scale * codes @ codes.T
    same = (target[:, None] == target).to(codes)
    weight = same / same.sum() + (1 - same) / (1 - same).sum().clamp_min(1)  # w_ij / B²
    return (weight * (F.softplus(similarity) - same * similarity)).sum()


def quantity(codes: Tensor) -> Tensor:
    """Mean (|u| - 1)² of codes (B, k): a concept is there or not."""
    return (codes.abs() - 1).square().mean()


def present(mass: Tensor) -> Tensor:
    """(B, k) 1 for the rows H_k in which a concept's attention `mass` (B, k) is above its mean over the batch."""
    return (mass > mass.mean(0)).to(mass)


def consistency(features: Tensor, mass: Tensor) -> Tensor:
    """Mean cosine of a concept's features among the rows that have it: mean over k of mean over H_k x H_k.

    The mean over all pairs of unit vectors is |their sum|² / |H_k|², so no pair is ever formed.

    Args:
        features: v, (B, k, d).
        mass: (B, k) of attention.
    """
    here = present(mass)
    total = _summed(features, here / torch.linalg.vector_norm(features, dim=2).clamp_min(1e-12))
    return (total.square().sum(1) / here.sum(0).clamp_min(1).square()).mean()


def distinctiveness(features: Tensor, mass: Tensor) -> Tensor:
    """Mean cosine between the mean features of all pairs of concepts, diagonal included: |sum of unit vectors|² / k².

    Args:
        features: v, (B, k, d).
        mass: (B, k) of attention.
    """
    here = present(mass)
    centre = _summed(features, here) / here.sum(0).clamp_min(1)[:, None]
    return F.normalize(centre, dim=1).sum(0).square().sum() / len(centre) ** 2


def _summed(features: Tensor, weight: Tensor) -> Tensor:
    """(k, d) the weighted sum over rows of features (B, k, d): a product for each concept, no weighted copy."""
    return torch.bmm(weight.T[:, None], features.transpose(0, 1))[:, 0]
