"""Matrices of what each position reads of each token, for pictures and tests; scores do not need them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from zoo.sequences.layers.mixing import Mixer

LARGEST = 2**30  # entries


def per_channel(block: Mixer, u: Tensor, here: Tensor) -> Tensor:
    """M (B, E, T, T) of a block that reads u (T, B, D).

    Raises:
        ValueError: it has more than 2³⁰ entries.
    """
    steps, rows, channels = len(u), u.shape[1], block.value.out_features
    if steps**2 * rows * channels > LARGEST:
        raise ValueError(
            f"the matrices of {rows} inputs have {rows} x {channels} x {steps} x {steps} entries; at most {LARGEST:,} "
            "are computed. Use fewer inputs, or the contributions of explain(), which need no matrix."
        )
    return block.observe(u, here).matrix().permute(2, 3, 0, 1)


def contracted(blocks: Sequence[Mixer], u: Tensor, here: Tensor, weight: Tensor, head: Tensor) -> Tensor:
    """What token k gives to a score through position i (B, T, T), of pooling weights (T, B) and a head's row (D,)."""
    found = torch.diag_embed(((u @ head) * weight).T)
    for block in blocks:
        told = (block.out.weight.T @ head) * block.value(u)  # (T, B, E)
        found = found + torch.einsum("beik,kbe->bik", per_channel(block, u, here), told) * weight.T[:, :, None]
    return found


def rolled_out(layers: Sequence[Sequence[Mixer]], read: Sequence[Tensor], here: Tensor) -> Tensor:
    """Attention rollout (B, T, T) over layers of parallel blocks, of the vectors that each layer reads."""
    own = torch.eye(len(here), device=here.device, dtype=here.dtype)
    total = own.expand(here.shape[1], -1, -1)
    for layer, u in zip(layers, read, strict=True):
        seen = torch.stack([per_channel(block, u, here).abs().mean(1) for block in layer]).sum(0)
        rows = seen.sum(2, keepdim=True)
        seen = torch.where(rows > 0, seen / rows.clamp_min(torch.finfo(seen.dtype).tiny), own)
        total = (seen + own) / 2 @ total
    return total
