"""Bridges between the residual streams of two networks: their initial scale and their losses.

A site is a sublayer of a network: site 0 is the attention of layer 0, 1 its MLP, 2 the attention of layer 1, ...,
2 L - 1 the last MLP. The stream of a site is the residual stream that its sublayer reads.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from zoo.circuits.network.trace import Trace
from zoo.circuits.network.transformer import SparseNetwork
from zoo.domain.text import PAD

MIN_VARIANCE = 1e-12  # for targets that do not vary


def bridge_losses(
    sparse: SparseNetwork,
    dense: SparseNetwork,
    encode: Callable[[int, Tensor], Tensor],
    decode: Callable[[int, Tensor], Tensor],
    tokens: Tensor,
    chosen: Sequence[int],
) -> tuple[dict[str, Tensor], Tensor]:
    """NMSE and KL terms of the bridges at all sites, see `zoo.circuits.BridgedTransformer`.

    Args:
        sparse: the sparse network.
        dense: the dense network; its weights are frozen.
        encode: maps a site and its dense stream (B, T, d_dense) to a sparse stream (B, T, d).
        decode: maps a site and its sparse stream to a dense stream.
        tokens: (B, T).
        chosen: sites of the KL terms, which are scaled by the number of sites over that of the chosen ones.

    Returns:
        The terms by name, and the final residual stream (B, T, d) of the sparse network.
    """
    real, sites = tokens != PAD, range(2 * sparse.layout.layers)
    ours = residual_streams(sparse, tokens)
    with torch.no_grad():
        theirs = residual_streams(dense, tokens)
        reference = log_probabilities(dense, theirs[-1], tokens)
    encoded, decoded = [encode(i, theirs[i]) for i in sites], [decode(i, ours[i]) for i in sites]
    to_sparse = run_from_sites(sparse, {i: encoded[i] for i in chosen})
    to_dense = run_from_sites(dense, {i: decoded[i] for i in chosen})
    kl_sparse = [kl_divergence(sparse, h, tokens, reference) for h in to_sparse.values()]
    kl_dense = [kl_divergence(dense, h, tokens, reference) for h in to_dense.values()]
    scale = len(sites) / len(chosen)
    terms = {
        "nmse_dense_to_sparse": torch.stack([nmse(encoded[i], ours[i], real) for i in sites]).sum(),
        "nmse_sparse_to_dense": torch.stack([nmse(decoded[i], theirs[i], real) for i in sites]).sum(),
        "kl_dense_to_sparse": torch.stack(kl_sparse).sum() * scale,
        "kl_sparse_to_dense": torch.stack(kl_dense).sum() * scale,
    }
    return terms, ours[-1]


@torch.no_grad()
def stream_ratios(sparse: SparseNetwork, dense: SparseNetwork, tokens: Tensor) -> list[float]:
    """Root mean square of the sparse stream divided by that of the dense stream at each site, for tokens (B, T).

    On the device "meta", where tensors have no values, all are 1.
    """
    if tokens.is_meta:
        return [1.0] * (2 * sparse.layout.layers)
    streams = zip(residual_streams(sparse, tokens)[:-1], residual_streams(dense, tokens)[:-1], strict=True)
    return [float(ours.square().mean().sqrt() / theirs.square().mean().sqrt()) for ours, theirs in streams]


def scaled_linear(inputs: int, outputs: int, ratio: float) -> nn.Linear:
    """A linear layer whose outputs are initially `ratio` times as large as its inputs."""
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=ratio / math.sqrt(inputs))
    nn.init.zeros_(linear.bias)
    return linear


def run_sublayer(network: SparseNetwork, site: int, stream: Tensor, trace: Trace) -> Tensor:
    """The residual stream (B, T, d) after the sublayer of a site, for the stream (B, T, d) before it."""
    block, start = network.blocks[site // 2], torch.zeros(stream.shape[0], dtype=torch.long, device=stream.device)
    sublayer = block.transform if site % 2 else block.attend
    return sublayer(stream, network.position_channels(stream.shape[1]), trace, start)[0]


def residual_streams(network: SparseNetwork, tokens: Tensor) -> list[Tensor]:
    """The streams (B, T, d) of all 2 L sites, followed by the final residual stream, for tokens (B, T)."""
    streams: list[Tensor] = [network.embed(tokens)]
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
