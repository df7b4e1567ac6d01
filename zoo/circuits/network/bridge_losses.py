"""Losses of bridges: residual streams at every sublayer, runs that start at a sublayer, NMSE and KL divergence.

A site is a sublayer of a network: site 0 is the attention of layer 0, 1 its MLP, 2 the attention of layer 1, ...,
2 L - 1 the last MLP. The stream of a site is the residual stream that its sublayer reads.
"""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo.circuits.network.trace import Trace
from zoo.circuits.network.transformer import SparseNetwork
from zoo.domain.text import PAD

MIN_VARIANCE = 1e-12  # for targets that do not vary


def run_sublayer(network: SparseNetwork, site: int, stream: Tensor, trace: Trace) -> Tensor:
    """The residual stream (B, T, d) after the sublayer of a site, for the stream (B, T, d) before it."""
    block, start = network.blocks[site // 2], torch.zeros(stream.shape[0], dtype=torch.long, device=stream.device)
    sublayer = block.transform if site % 2 else block.attend
    return sublayer(stream, network.position_channels(stream.shape[1]), trace, start)[0]


def residual_streams(network: SparseNetwork, tokens: Tensor) -> list[Tensor]:
    """The streams (B, T, d) of all 2 L sites, followed by the final residual stream, for tokens (B, T)."""
    streams: list[Tensor] = [network.embedding(tokens)]
    for site in range(2 * network.layout.layers):
        streams.append(run_sublayer(network, site, streams[-1], network.trace()))
    return streams


def run_from_sites(network: SparseNetwork, entering: Mapping[int, Tensor]) -> dict[int, Tensor]:
    """Runs the network from several sites on, each with a given stream.

    All runs are computed as one batch, which each run joins at its site.

    Args:
        network: to run.
        entering: stream (B, T, d) at which a run begins, by site; at least one.

    Returns:
        Final residual stream (B, T, d) of each run, by site.
    """
    sites = sorted(entering)
    batch = entering[sites[0]]
    for site in range(sites[0], 2 * network.layout.layers):
        if site in entering and site != sites[0]:
            batch = torch.cat([batch, entering[site]])
        batch = run_sublayer(network, site, batch, network.trace())
    return dict(zip(sites, batch.chunk(len(sites)), strict=True))


def nmse(estimate: Tensor, target: Tensor, real: Tensor) -> Tensor:
    """Normalised mean squared error: E |estimate - target|^2 / E |target - E target|^2, over the real positions.

    The denominator has no gradient, so that the error cannot be reduced by increasing the variance of the target.

    Args:
        estimate: (B, T, d).
        target: (B, T, d).
        real: (B, T), False at padding.
    """
    weight = real[..., None] / real.sum()
    target = target.float()
    error = ((estimate.float() - target).square() * weight).sum()
    with torch.no_grad():
        mean = (target * weight).sum((0, 1))
        variance = ((target - mean).square() * weight).sum()
    return error / variance.clamp_min(MIN_VARIANCE)


def kl_divergence(network: SparseNetwork, residual: Tensor, tokens: Tensor, reference: Tensor) -> Tensor:
    """KL(p || q) in nats per token, where p is given and q is predicted from final residual streams.

    The logits are recomputed in the backward pass, so that only those of one run are in memory at a time.

    Args:
        network: whose unembedding predicts q.
        residual: (B, T, d).
        tokens: (B, T).
        reference: log p, (B, T, V) fp32.
    """

    def run(residual: Tensor) -> Tensor:
        each = F.kl_div(log_probabilities(network, residual, tokens), reference, reduction="none", log_target=True)
        real = tokens != PAD
        return (each.sum(-1) * real).sum() / real.sum()

    if not torch.is_grad_enabled():
        return run(residual)
    return cast(Tensor, checkpoint(run, residual, use_reentrant=False, preserve_rng_state=False))


def log_probabilities(network: SparseNetwork, residual: Tensor, tokens: Tensor) -> Tensor:
    """Log probabilities of the next token (B, T, V), fp32, for final residual streams (B, T, d) at `tokens` (B, T)."""
    return network.logits(residual, tokens).float().log_softmax(-1)
