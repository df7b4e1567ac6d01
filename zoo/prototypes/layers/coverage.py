"""A loss that makes every prototype fire somewhere in a batch."""

import torch
from torch import Tensor

EPSILON = 1e-8


def coverage(activation: Tensor) -> Tensor:
    """-mean_d log(tanh(Σ_batch p_d)) of (B, D), low if each prototype fires for some image (PIP-Net, section 3.1)."""
    return -torch.log(activation.sum(0).tanh() + EPSILON).mean()
