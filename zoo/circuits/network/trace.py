"""A forward pass through a sparse network: AbsTopK at every site, mean ablation, changes, and recorded values."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.circuits.kernels.topk import abs_topk
from zoo.circuits.network.layout import Layout
from zoo.utils.functional import at_least_fp32

GATHERED = "gathered"  # what attention gathers, before its output matrix; its channels are no nodes
Changes = Mapping[tuple[int, str], Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Ablation:
    """Mean ablation of nodes: the value x of a node becomes m x + (1 - m) mean.

    Attributes:
        mask: m in [0, 1], (L, N) for all prompts or (B, L, N) for each prompt.
        means: (L, N).
        layout: of the N nodes of a block.
        rewired: weight and bias that replace those of a matrix, by (layer, name); this ablates single edges.
    """

    mask: Tensor
    means: Tensor
    layout: Layout
    rewired: Mapping[tuple[int, str], tuple[Tensor, Tensor]] = field(default_factory=dict)

    def kept(self, layer: int, site: str) -> Tensor:
        """The mask of a site, (n,) or (B, 1, n)."""
        mask = self.mask[..., layer, self.layout.part(site)]
        return mask if mask.ndim == 1 else mask[:, None]

    def constant(self, layer: int, site: str) -> Tensor:
        """The term (1 - m) mean of a site, of the shape of `kept`."""
        return (1 - self.kept(layer, site)) * self.means[layer, self.layout.part(site)]


class ResidualWrite(NamedTuple):
    """What one sublayer writes to the residual stream at one position: gate * (W value + b) + constant.

    Attributes:
        value: (B, n), attention channels or neurons.
        gate: (B, d), 1 where AbsTopK and ablation keep the written channel.
        constant: (B, d), means of the ablated channels.
    """

    value: Tensor
    gate: Tensor
    constant: Tensor


class Trace:
    """One forward pass. It applies AbsTopK, ablation and changes at every site and can record the values.

    Args:
        kept: number of entries that AbsTopK keeps at each site.
        ablation: mean ablation of nodes, or None.
        record: record the values (B, T, n) of all sites by (layer, site), those that attention gathered under the site
            name "gathered", and the scales of all norms.
        scales: scales of the norms recorded by another pass over the same tokens, used instead of this pass's own.
        changes: by (layer, site): replaces the values (B, T, n) of a site, or of "gathered", after ablation. By (layer,
            name of a matrix): what is added to its outputs, as a function of its inputs; this changes single edges.
            Writes (`ResidualWrite`) do not include changes.

    Attributes:
        values: recorded values.
        scales: recorded scales 1 / rms(x), (B, T, 1), in the order of the norms.
    """

    def __init__(
        self,
        kept: Mapping[str, int],
        ablation: Ablation | None = None,
        record: bool = False,
        scales: Sequence[Tensor] | None = None,
        changes: Changes | None = None,
    ) -> None:
        self.kept, self.ablation, self.record, self.changes = kept, ablation, record, changes or {}
        self.values: dict[tuple[int, str], Tensor] = {}
        self.scales: list[Tensor] = []
        self._given_scales = None if scales is None else iter(scales)

    @property
    def only_ablates(self) -> bool:
        """Whether the pass records nothing, changes nothing, and has its own scales."""
        return not self.record and not self.changes and self._given_scales is None

    def norm(self, norm: nn.RMSNorm, x: Tensor) -> Tensor:
        """Applies a norm to the residual stream, with its own scale or the given one."""
        if self._given_scales is not None:
            return x * next(self._given_scales) * norm.weight
        if self.record:
            self.scales.append((at_least_fp32(x).square().mean(-1, keepdim=True) + epsilon(norm)).rsqrt())
        return norm(x)

    def at(self, layer: int, site: str, x: Tensor, channels: Tensor | None = None, overwrite: bool = False) -> Tensor:
        """Applies AbsTopK and ablation to the value x (B, T, n) of a site.

        Position `channels` (T, p) are appended before AbsTopK, which selects among all (B, T, n + p). They are not
        nodes, so that they are neither ablated nor recorded. `overwrite`: x is needed nowhere else.
        """
        if channels is None:
            return self.nodes(layer, site, abs_topk(x, self.kept[site], overwrite=overwrite))
        both = abs_topk(with_positions(x, channels), self.kept[site], overwrite=True)
        x, channels = both.split([x.shape[-1], channels.shape[-1]], -1)
        return torch.cat([self.nodes(layer, site, x), channels], -1)

    def split_at(self, layer: int, sites: Sequence[str], x: Tensor, overwrite: bool = False) -> list[Tensor]:
        """As `at`, for values of several sites (B, T, n each) one after another along the last axis of x."""
        if len({self.kept[site] for site in sites}) > 1:
            parts = x.chunk(len(sites), -1)
            return [self.at(layer, site, part) for site, part in zip(sites, parts, strict=True)]
        chosen = abs_topk(x, self.kept[sites[0]], len(sites), overwrite).chunk(len(sites), -1)
        return [self.nodes(layer, site, part) for site, part in zip(sites, chosen, strict=True)]

    def nodes(self, layer: int, site: str, x: Tensor) -> Tensor:
        """Ablates and records the values (B, T, n) of a site after AbsTopK."""
        if self.ablation is not None:
            x = self.ablation.kept(layer, site).to(x) * x + self.ablation.constant(layer, site).to(x)
        return self.changed(layer, site, x)

    def changed(self, layer: int, site: str, x: Tensor) -> Tensor:
        """Changes and records the values (B, T, n) of a site or of "gathered"."""
        if (layer, site) in self.changes:
            x = self.changes[layer, site](x)
        if self.record:
            self.values[layer, site] = x
        return x

    def linear(self, layer: int, name: str, linear: nn.Linear, x: Tensor) -> Tensor:
        """Applies a linear layer of a block, with its edges ablated if the ablation rewires it, and with changes."""
        rewired = {} if self.ablation is None else self.ablation.rewired
        y = F.linear(x, *rewired[layer, name]) if (layer, name) in rewired else linear(x)
        return y + self.changes[layer, name](x) if (layer, name) in self.changes else y

    def write(
        self, layer: int, site: str, value: Tensor, before: Tensor, read: Tensor, overwrite: bool = False
    ) -> tuple[Tensor, ResidualWrite]:
        """Applies AbsTopK and ablation as `at` does, and describes the write at the positions `read` (B,).

        Args:
            layer: of the sublayer.
            site: "attn_out" or "mlp_out".
            value: (B, T, n), input of the writing matrix.
            before: (B, T, d), output of the writing matrix.
            read: (B,).
            overwrite: `before` is needed nowhere else.
        """
        rows = torch.arange(read.shape[0], device=read.device)
        chosen = abs_topk(before, self.kept[site], overwrite=overwrite)
        gate = (chosen.detach()[rows, read] != 0).float()
        constant = torch.zeros_like(gate)
        if self.ablation is not None:
            mask = self.ablation.kept(layer, site)
            constant = constant + self.ablation.constant(layer, site).flatten(-1 if mask.ndim == 1 else 1)
            gate = gate * (mask if mask.ndim == 1 else mask[:, 0])
        return self.nodes(layer, site, chosen), ResidualWrite(value[rows, read], gate, constant)


def unobserved(module: nn.Module) -> bool:
    """Whether no hook sees the outputs of a module, so that they may be overwritten."""
    hooks = nn.modules.module
    everywhere = hooks._global_forward_hooks, hooks._global_backward_hooks, hooks._global_backward_pre_hooks
    return not any((module._forward_hooks, module._backward_hooks, module._backward_pre_hooks, *everywhere))


def with_positions(x: Tensor, channels: Tensor | None) -> Tensor:
    """Values x (B, T, n) with the position channels (T, p) appended, (B, T, n + p)."""
    return x if channels is None else torch.cat([x, channels.to(x).expand(*x.shape[:-1], -1)], -1)


def epsilon(norm: nn.RMSNorm) -> float:
    """The value that a norm adds to the mean square, in fp32."""
    return torch.finfo(torch.float32).eps if norm.eps is None else norm.eps
