"""Codes of pairs, such as a text and its counterfactual: atoms for what both share, and atoms for what differs.

Poupart: "Contrastive Sparse Autoencoders for Interpreting Planning of Chess-Playing Agents", 2024, arXiv 2406.04028.
"""

import torch
from torch import Tensor

from zoo.concepts.layers.sparse_codes import Dictionary
from zoo.training.batch import Batch


def common_atoms(share: float, atoms: int) -> int:
    """Number of atoms, the first ones, for what both of a pair share; 0 without pairs."""
    return min(max(round(share * atoms), 1), atoms - 1) if share else 0


def partners(batch: Batch) -> Tensor:
    """The other input of each pair; where there is none, the input itself.

    Raises:
        ValueError: the data has no pairs.
    """
    if "pair" not in batch:
        raise ValueError(
            "code.common compares the two inputs of a pair, and a batch of these data has no 'pair' (keys: "
            f"{', '.join(sorted(batch))}); use data with pairs, such as CEBaB with pairs: true, or leave it out."
        )
    return batch["pair"]


def contrast(code: Tensor, other: Tensor, batch: Batch, dictionary: Dictionary) -> Tensor:
    """Mean over pairs of ‖c - c'‖₁ + ‖d ⊙ d'‖₁, in the unit of centred features; 0 without pairs.

    Args:
        code: pooled codes (B, m) of the inputs; c are the first atoms, those in common, and d the others.
        other: of their partners.
        batch: with "input" and "pair".
        dictionary: of the codes.
    """
    options = dictionary.options
    count = common_atoms(options.common, options.atoms)
    z, w = code / dictionary.scale, other / dictionary.scale
    apart = (z[:, :count] - w[:, :count]).abs().sum(1) + (z[:, count:] * w[:, count:]).sum(1)
    paired = (batch["input"] != batch["pair"]).flatten(1).any(1)
    return torch.where(paired, apart, 0.0).sum() / paired.sum().clamp_min(1)
