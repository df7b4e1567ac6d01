"""What a mask over steps and sensors says in words."""

import math

from torch import Tensor

from zoo.domain import SeriesDomain
from zoo.networks.elements import Elements

SHOWN = 12  # runs that a sentence lists


def runs_of(selected: list[bool]) -> list[tuple[int, int]]:
    """First and last place of each run of selected places."""
    edges = [i for i, (a, b) in enumerate(zip([False, *selected], [*selected, False], strict=True)) if a != b]
    return [(first, end - 1) for first, end in zip(edges[::2], edges[1::2], strict=True)]


def selected_steps(mask: Tensor, elements: Elements) -> str:
    """A sentence such as "12 of 50 steps of heart rate are selected: 3-8 and 20-25."; steps count from 0.

    Args:
        mask: (L,) bool, over the elements of a series.
        elements: of the series.
    """
    domain, patch = elements.domain, elements.patch
    assert isinstance(domain, SeriesDomain)  # the model refuses others
    grid, parts, left, several = mask.view(elements.grid), [], SHOWN, len(domain.variables) > 1
    for v, name in enumerate(domain.variables):
        runs = [(a * patch, min((b + 1) * patch, domain.length) - 1) for a, b in runs_of(grid[:, v].tolist())]
        if runs and left > 0:
            listed = _listed([f"{a}" if a == b else f"{a}–{b}" for a, b in runs[:left]], len(runs) > left)
            parts.append(f"{name}: {listed}" if several else listed)
        left -= len(runs)
    count = int(elements.expand(mask[None], mask.new_zeros(1, *domain.shape)).sum())
    where = f": {'; '.join(parts)}{'; …' if several and left < 0 else ''}" if parts else ""
    of = f"{count} of {math.prod(domain.shape)} {'values' if several else 'steps'}"
    return f"{of} are selected{where}. The predictor does not read the others."


def _listed(names: list[str], more: bool) -> str:
    if more:
        return ", ".join([*names, "…"])
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
