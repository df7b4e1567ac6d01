"""Effects of columns and of pairs of columns as tables over bins."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.additive.layers.bins import Bins
from zoo.additive.layers.readout import no_curve, pair_name
from zoo.core.additive_evidence import per_class
from zoo.core.curves import Axis, Curve
from zoo.domain import TableDomain


class Effects(nn.Module):
    """One table for each column, and one for each of at most P pairs of columns, over coarser bins.

        main_k(x) = mains[k, bin_k]
        pair_p(x) = pairs[p, coarse_i[bin_i], coarse_j[bin_j]]        (i, j) = columns[p]

    Args:
        domain: of the table.
        outputs: C', numbers of each effect.
        pairs: P.
        most: largest number of bins of a column of numbers.
        coarse: the same in pairs.

    Attributes:
        bins: which bin each value is in.
        mains: (K, S, C').
        errors: (K, S, C') standard errors; -1 if they are not known.
        density: (K, S) share of the training rows.
        merged: (K, S) coarse bin of each bin.
        columns: (P, 2) numbers of the columns of each pair, the lower one first; -1 for a pair that is not used.
        pairs: (P, Q, Q, C').
        pair_errors: (P, Q, Q, C') standard errors, to three digits; 0 if they are not known.
        pair_density: (P, Q, Q) share of the training rows.
    """

    bins: Bins
    mains: Tensor
    errors: Tensor
    density: Tensor
    merged: Tensor
    columns: Tensor
    pairs: Tensor
    pair_errors: Tensor
    pair_density: Tensor

    def __init__(self, domain: TableDomain, outputs: int, pairs: int, most: int, coarse: int) -> None:
        super().__init__()
        self.bins = Bins(domain, most)
        widths = [(c.width - 1, True) if c.numeric else (c.width + 1, False) for c in domain.layout]
        size = max(width + most if numeric else width for width, numeric in widths)
        self.side = max(width + coarse if numeric else width for width, numeric in widths) if pairs else 1
        count = len(domain.layout)
        self.register_buffer("mains", torch.zeros(count, size, outputs))
        self.register_buffer("errors", torch.full((count, size, outputs), -1.0))
        self.register_buffer("density", torch.zeros(count, size))
        self.register_buffer("merged", torch.zeros(count, size, dtype=torch.int16))
        self.register_buffer("columns", torch.full((pairs, 2), -1))
        self.register_buffer("pairs", torch.zeros(pairs, self.side, self.side, outputs))
        self.register_buffer("pair_errors", torch.zeros(self.pairs.shape, dtype=torch.bfloat16))
        self.register_buffer("pair_density", torch.zeros(pairs, self.side, self.side))

    def forward(self, x: Tensor) -> Tensor:
        """Effects (B, K + P, C') of inputs (B, F)."""
        bins = self.bins(x)
        each = torch.arange(bins.shape[1], device=x.device)
        mains = self.mains[each, bins]
        if not len(self.columns):
            return mains
        small = self.merged[each, bins].long()
        first, second = (small[:, c.clamp_min(0)] for c in self.columns.unbind(1))
        return torch.cat([mains, self.pairs[torch.arange(len(self.columns), device=x.device), first, second]], 1)

    @property
    def used(self) -> list[tuple[int, int]]:
        """The pairs that are used, which are the first."""
        return [(i, j) for i, j in self.columns.tolist() if i >= 0]

    def measure(self, bins: Tensor, weight: Tensor) -> None:
        """Sets the densities from the bins (N, K) of the training rows and their weights (N,)."""
        share = weight.float() / weight.sum()
        self.density.zero_().scatter_add_(1, bins.T, share.expand(bins.shape[1], -1))
        small = self.merged[torch.arange(bins.shape[1]), bins].long()
        self.pair_density.zero_()
        for p, (i, j) in enumerate(self.used):
            self.pair_density[p].view(-1).scatter_add_(0, small[:, i] * self.side + small[:, j], share)

    def names(self) -> list[str]:
        """Name of each effect, unique."""
        names = [column.name for column in self.bins.columns]
        pairs = [pair_name(names, i, j) for i, j in self.used]
        return names + pairs + [f"unused pair {p + 1}" for p in range(len(pairs), len(self.columns))]

    def curves(self) -> tuple[Curve, ...]:
        """The curve of each effect, in raw values and per score."""
        domain, axes, curves = self.bins.domain, self.bins.axes(), []
        for axis, main, error, density in zip(axes, self.mains, self.errors, self.density, strict=True):
            n = len(axis)
            known = None if bool((error[:n] < 0).any()) else per_class(error[:n], domain).abs()
            curves.append(Curve(axis.column, (axis,), per_class(main[:n], domain), density[:n], known))
        numbers = (self.columns.tolist(), self.pairs, self.pair_errors.float(), self.pair_density)
        for name, (i, j), pair, error, density in zip(self.names()[len(axes) :], *numbers, strict=True):
            if i < 0:
                curves.append(no_curve(name, 2, len(domain.classes)))
                continue
            both = (self._coarse(axes[i], i), self._coarse(axes[j], j))
            n, m = map(len, both)
            known = per_class(error[:n, :m], domain).abs() if bool(error.any()) else None
            curves.append(Curve(name, both, per_class(pair[:n, :m], domain), density[:n, :m], known))
        return tuple(curves)

    def _coarse(self, axis: Axis, column: int) -> Axis:
        """The axis of a column in pairs: only the edges between bins that are not merged."""
        if axis.kind == "levels":
            return axis
        merged = self.merged[column, : axis.numbers].tolist()
        kept = [edge for edge, a, b in zip(axis.places, merged, merged[1:], strict=False) if a != b]
        return Axis(axis.column, axis.kind, tuple(kept), axis.labels)

    def set_curves(self, curves: Sequence[Curve]) -> None:
        """Takes over the values and errors of curves that `curves` gave, after they were edited.

        Raises:
            ValueError: curves of other shapes.
        """
        for k, (curve, old) in enumerate(zip(curves, self.curves(), strict=True)):
            if curve.unit != old.unit or curve.values.shape != old.values.shape:
                raise ValueError(
                    f"the curve of '{old.unit}' has values {tuple(old.values.shape)}; got '{curve.unit}' with "
                    f"{tuple(curve.values.shape)}."
                )
            # Two scores are half the number and minus that: their difference is the number.
            values = curve.values if self.mains.shape[2] > 1 or curve.values.shape[-1] == 1 else curve.values.diff()
            pair = k - len(self.mains)
            tables, errors = (self.mains, self.errors) if pair < 0 else (self.pairs, self.pair_errors)
            entries = (k if pair < 0 else pair, *(slice(len(axis)) for axis in curve.axes))
            tables[entries] = values
            if curve.error is not None:
                halves = curve.error.shape[-1] > self.mains.shape[2]
                errors[entries] = (2 * curve.error[..., :1] if halves else curve.error).to(errors)
