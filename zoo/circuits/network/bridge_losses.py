"""What bridges are trained and measured by: residual streams at every sublayer, runs that switch networks, and losses.

A site is a sublayer of a network: 0 is the attention of layer 0, 1 its MLP, 2 the attention of layer 1, ... and 2 L - 1
the last MLP. The stream of a site is the residual stream that its sublayer reads.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo.circuits.network.transformer import SparseNetwork, Visit
from zoo.domain.text import PAD

SMALLEST = 1e-12  # variance of a target that does not vary


def sublayer(network: SparseNetwork, site: int, stream: Tensor, visit: Visit) -> Tensor:
    """The residual stream (B, T, d) after the sublayer of a site that is given `stream` (B, T, d)."""
    block, start = network.blocks[site // 2], torch.zeros(stream.shape[0], dtype=torch.long, device=stream.device)
    run = block.transform if site % 2 else block.attend
    return run(stream, network.position_channels(stream.shape[1]), visit, start)[0]


def streams(network: SparseNetwork, tokens: Tensor) -> list[Tensor]:
    """The streams (B, T, d) of all 2 L sites, and after them the final residual stream, for tokens (B, T)."""
    found = [network.embedding(tokens)]
    for site in range(2 * network.layout.layers):
        found.append(sublayer(network, site, found[-1], network.visit()))
    return found


def splice(network: SparseNetwork, entering: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Final residual streams (B, T, d) of runs that each begin at one site, with a given stream.

    The runs go side by side as one batch, which the next one joins at its site.

    Args:
        network: to run.
        entering: the stream (B, T, d) at which a run begins, by site; at least one.
    """
    sites = sorted(entering)
    together = entering[sites[0]]
    for site in range(sites[0], 2 * network.layout.layers):
        if site in entering and site != sites[0]:
            together = torch.cat([together, entering[site]])
        together = sublayer(network, site, together, network.visit())
    return dict(zip(sites, together.chunk(len(sites)), strict=True))


def nmse(estimate: Tensor, target: Tensor, real: Tensor) -> Tensor:
    """Normalised squared error: E |estimate - target|^2 / E |target - E target|^2, over the positions that count.

    The denominator is no way to a smaller error: no gradient goes through it.

    Args:
        estimate, target: (B, T, d).
        real: (B, T), True where there is a token.
    """
    weight = real[..., None] / real.sum()
    target = target.float()
    error = ((estimate.float() - target).square() * weight).sum()
    with torch.no_grad():
        mean = (target * weight).sum((0, 1))
        variance = ((target - mean).square() * weight).sum()
    return error / variance.clamp_min(SMALLEST)


def divergence(network: SparseNetwork, residual: Tensor, tokens: Tensor, reference: Tensor) -> Tensor:
    """KL(p || q) in nats a token, of p from another network and q of final residual streams in this one.

    The logits are made again on the way back, so that those of one run at a time are in memory.

    Args:
        network: whose unembedding makes q.
        residual: (B, T, d).
        tokens: (B, T).
        reference: (B, T, V) logarithms of p, fp32.
    """

    def run(residual: Tensor) -> Tensor:
        each = F.kl_div(log_probabilities(network, residual, tokens), reference, reduction="none", log_target=True)
        real = tokens != PAD
        return (each.sum(-1) * real).sum() / real.sum()

    if not torch.is_grad_enabled():
        return run(residual)
    found = checkpoint(run, residual, use_reentrant=False, preserve_rng_state=False)
    assert isinstance(found, Tensor)
    return found


def log_probabilities(network: SparseNetwork, residual: Tensor, tokens: Tensor) -> Tensor:
    """(B, T, V) of the next token, fp32, for final residual streams (B, T, d) at `tokens` (B, T)."""
    return network.logits(residual, tokens).float().log_softmax(-1)
