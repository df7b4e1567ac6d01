"""Units that lie together, joined into a few regions of the input: fewer and larger terms of the same sum.

The contributions are spread over the input in proportion to the supports of their units, as in
`Explanation.attribution`. A region is a peak of this map with its surroundings: all places from which the steepest way
up, or down among negative values, leads there. What a unit contributes goes to the regions in proportion to how much of
its support lies in them, so all sums stay what they were, for every class and reference. What is in none of the largest
regions is the unit "elsewhere, for" or "elsewhere, against". Units of both signs at one place cancel in its region, so
what the removal of a part of it does is told less well than by the units themselves.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.core.comparison import terms_for
from zoo.core.evidence import Unit
from zoo.domain import AudioDomain, Domain, GraphDomain, ImageDomain, TableDomain
from zoo.networks.smoothing import smooth

if TYPE_CHECKING:
    from zoo.core.explanation import Explanation

REGION = "region"  # kind of the units
LEAST = 3  # regions: the largest, and what is elsewhere for and against
CHUNK = 2**25  # numbers in float64: 256 MiB
BLUR = 0.02  # of the longest side, the deviation of the Gaussian that joins neighbouring peaks


def in_regions(one: "Explanation", count: int) -> "Explanation":
    """See `Explanation.in_regions`."""
    contributions, _ = terms_for("in_regions()", one)
    shares, strength = regions_of(one, count)
    units = tuple(Unit(f"region {n + 1}", REGION) for n in range(count - 2))
    units += (Unit("elsewhere, for", REGION), Unit("elsewhere, against", REGION))
    if shares.shape[1] > len(units):
        units += (Unit("without a place", "residual"),)

    def joined(values: Tensor) -> Tensor:
        return torch.einsum("bnk,bk...->bn...", shares, values.to(shares)).to(values)

    others = {name: torch.cat([joined(values[:, :-1]), values[:, -1:]], 1) for name, values in one.alternatives.items()}
    return replace(
        one,
        contributions=joined(contributions),
        activation=torch.ones_like(strength[:, :, 0]),
        support=strength.unflatten(2, one.support.shape[2:]),  # pyright: ignore[reportOptionalMemberAccess]
        units=units,
        effects=None if one.effects is None else joined(one.effects),
        slopes=None,
        alternatives=others,
        edges=None,
        details={},
        counterfactuals=(),
    )


def regions_of(one: "Explanation", count: int, chunk: int = CHUNK) -> tuple[Tensor, Tensor]:
    """The regions of each row: what of each unit lies in them, and how strong they are at each place.

    Args:
        one: of an additive model whose units have places on a grid of n cells.
        count: R, number of regions, the last two of which are elsewhere.
        chunk: numbers of supports of which rows are looked at together.

    Returns:
        (B, R, K) float64, the shares of the K units, which add up to 1 for each unit; and (B, R, n) in [0, 1]. With R +
        1 in place of R if some units have no place.

    Raises:
        ValueError: units without places, or on no grid of neighbours; or fewer than three regions.
    """
    contributions, _ = terms_for("in_regions()", one)
    require_regions(one.domain, count)
    if one.support is None:
        raise ValueError("the units of this explanation have no place in the input, so they cannot be joined by place.")
    rows, units = contributions.shape
    step = max(chunk // (units * one.support[0, 0].numel()), 1)
    plane = isinstance(one.domain, ImageDomain | AudioDomain)
    parts = [
        _regions(contributions[i : i + step].double(), one.support[i : i + step].double(), count, plane)
        for i in range(0, rows, step)
    ]
    shares, strength = (torch.cat(each) for each in zip(*parts, strict=True))
    nowhere = (shares.sum(1) < 0.5).to(shares)  # of each unit either all or nothing lies in the regions
    if bool(nowhere.any()):
        shares, strength = torch.cat([shares, nowhere[:, None]], 1), F.pad(strength, (0, 0, 0, 1))
    return shares, strength.to(one.support)


def _regions(contributions: Tensor, support: Tensor, count: int, plane: bool) -> tuple[Tensor, Tensor]:
    """Shares (B, R, K) of units and strengths (B, R, n) of regions; the shares of a unit without a place are 0."""
    flat = support.flatten(2)
    mass = flat.sum(2, keepdim=True)
    share = torch.where(mass > 0, flat / mass.clamp_min(torch.finfo(flat.dtype).tiny), 0.0)  # (B, K, n)
    heat = torch.einsum("bk,bkn->bn", contributions, share)
    blurred = _blurred(heat.unflatten(1, support.shape[2:]), plane)
    peak = _peaks(blurred, plane)
    sums = torch.zeros_like(heat).scatter_add(1, peak, heat)
    largest = sums.abs().topk(min(count - 2, sums.shape[1]), 1).indices
    same = peak[:, :, None] == largest[:, None]  # (B, n, regions)
    elsewhere = count - 2 + (blurred.flatten(1) < 0).long()
    region = F.one_hot(torch.where(same.any(2), same.int().argmax(2), elsewhere), count).to(heat)
    strength = region.mT * heat.abs()[:, None]
    strength = strength / strength.amax(2, keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)
    return torch.einsum("bnr,bkn->brk", region, share), strength


def require_regions(domain: Domain, count: int) -> None:
    """Refuses what no explanation of a domain can be joined into.

    Raises:
        ValueError: fewer than three regions, or inputs without neighbours.
    """
    if count < LEAST:
        raise ValueError(
            f"expected at least {LEAST} regions, of which two are what lies elsewhere, for and against; got {count}."
        )
    if isinstance(domain, TableDomain | GraphDomain):
        raise ValueError(f"{domain.noun} have no neighbouring places, so explanations of them have no regions.")


def _blurred(grid: Tensor, plane: bool) -> Tensor:
    """Maps (B, *S) blurred along their axes: both of a plane, else the first."""
    sigma = BLUR * max(grid.shape[1:] if plane else grid.shape[1:2])
    for axis in range(1, grid.ndim if plane else 2):
        grid = smooth(grid, sigma, axis, max(math.ceil(2 * sigma), 1))
    return grid


def _peaks(grid: Tensor, plane: bool) -> Tensor:
    """(B, n) the cell of the peak that the steepest way up, or of negative values down, leads to from each cell.

    Ways stay among cells of one sign. Cells are counted as in `grid.flatten(1)`.
    """
    rows, shape = len(grid), grid.shape[1:]
    if not plane:  # every variable by itself
        grid = grid.flatten(2).mT if grid.ndim > 2 else grid[:, None]
        flat = grid.reshape(-1, 1, 1, grid.shape[-1])
    else:
        flat = grid[:, None]
    sides = (3, 3) if flat.shape[2] > 1 else (1, 3)
    padding = tuple(side // 2 for side in sides)
    up, down = (
        F.max_pool2d(sign.float(), sides, 1, padding, return_indices=True)[1].flatten(1)
        for sign in (flat.clamp_min(0), (-flat).clamp_min(0))
    )
    way = torch.where(flat.flatten(1) > 0, up, down)
    for _ in range(max(way.shape[1] - 1, 1).bit_length()):
        way = way.gather(1, way)
    if plane:
        return way
    width = shape[1] if len(shape) > 1 else 1
    way = way.view(rows, width, -1) * width + torch.arange(width, device=way.device)[:, None]
    return way.mT.reshape(rows, -1)
