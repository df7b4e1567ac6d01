"""The confusion matrix of a test as a figure (the extra `plot`)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from zoo.utils.optional import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUMBERED, NAMED = 15, 50  # classes up to which cells have numbers, and rows have names
LONGEST = 24  # characters of a name


def confusion_figure(confusion: Tensor, classes: Sequence[str]) -> "Figure":
    """True classes in rows, predicted ones in columns; the colour is the share of the row.

    Args:
        confusion: counts (C, C).
        classes: C names.

    Raises:
        ImportError: matplotlib is not installed.
    """
    need("matplotlib", "plot")
    from matplotlib.figure import Figure

    count = len(classes)
    share = (confusion / confusion.sum(1, keepdim=True).clamp_min(1)).cpu()
    side = min(max(0.42 * count, 2.2), 12.0)
    figure = Figure(figsize=(side + 2.2, side + 1.2), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    if count <= NAMED:
        names = [short(name) for name in classes]
        size = 9 if count <= NUMBERED else 6
        axes.set_xticks(range(count), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(range(count), names, fontsize=size)
    if count <= NUMBERED:
        for i, row in enumerate(confusion.tolist()):
            for j, value in enumerate(row):
                if value:
                    colour = "white" if share[i, j] > 0.5 else "black"
                    axes.text(j, i, f"{value:,}", ha="center", va="center", fontsize=8, color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure


def short(name: str) -> str:
    """A truncated name, with dollar signs escaped so that matplotlib does not typeset a formula."""
    name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    return name.replace("$", r"\$")
