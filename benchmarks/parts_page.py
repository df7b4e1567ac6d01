"""The page of `benchmarks.parts_accuracy`: error rates with 95 % intervals, and what they say in a sentence."""

from collections.abc import Mapping
from math import sqrt

import torch
from torch import Tensor

GROUPS = "Sum-of-Parts"
OWN = "own backbone on the top 20 % by "
MASKED = 0.2  # of the elements are shown by a post-hoc mask


def page(data: str, wrong: Mapping[str, Tensor], absent: Mapping[str, str], share: float) -> str:
    """The page as Markdown.

    Args:
        data: name of the data.
        wrong: (N,) bool for each row of the table, whether the prediction of each image is wrong.
        absent: rows that were not measured, with the command that trains their model.
        share: of the elements in the largest group of Sum-of-Parts.
    """
    count = len(next(iter(wrong.values())))
    lines = [
        f"# Error rates on {data}\n",
        f"All rows: the same {count} test images. In brackets: 95 % intervals over images (Wilson). Masks show a fifth "
        f"of the elements, the rest is hidden. Each group of Sum-of-Parts shows {100 * share:.0f} %, and its score is "
        "a sum over groups.\n",
        "| | error |",
        "|---|---|",
    ]
    for name, values in wrong.items():
        low, high = wilson(int(values.sum()), count)
        lines.append(f"| {name} | {100 * values.double().mean():.1f} % ({100 * low:.1f} to {100 * high:.1f}) |")
    lines += ["", *verdict(wrong, share)]
    lines += [f"Not measured: {name}; train it with `{command}`." for name, command in absent.items()]
    return "\n".join(lines).rstrip() + "\n"


def wilson(wrong: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share."""
    share, scale = wrong / count, 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / scale
    half = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / scale
    return max(centre - half, 0.0), min(centre + half, 1.0)


def verdict(wrong: Mapping[str, Tensor], share: float) -> list[str]:
    """Whether the best post-hoc mask on the model's own backbone has a lower error than the learned groups."""
    masks = {name.removeprefix(OWN): values for name, values in wrong.items() if name.startswith(OWN)}
    masks.pop("random elements", None)
    if GROUPS not in wrong or not masks:
        return []
    best = min(masks, key=lambda name: int(masks[name].sum()))
    mean, half = difference(wrong[GROUPS], masks[best])
    mask, own = (100 * float(values.double().mean()) for values in (masks[best], wrong[GROUPS]))
    if mean - half > 0:
        said = f"A mask of {best} on the model's own backbone has fewer errors than the learned groups"
    elif mean + half < 0:
        said = f"The learned groups have fewer errors than the best post-hoc mask on its own backbone, that of {best}"
    else:
        said = f"No difference is shown between the learned groups and a mask of {best} on the model's own backbone"
    more = " Groups see more than the masks, so this does not compare how they are chosen." if share > MASKED else ""
    return [
        f"{said}: {mask:.1f} % against {own:.1f} % errors on the same images. The difference is "
        f"{100 * mean:+.1f} points (95 % interval, paired: {100 * (mean - half):+.1f} to {100 * (mean + half):+.1f})."
        f"{more} The score of Sum-of-Parts is a sum over its groups; a post-hoc mask needs a second pass of the "
        "backbone and explains it only in hindsight.\n"
    ]


def difference(first: Tensor, second: Tensor) -> tuple[float, float]:
    """The mean of the paired differences of two rows (N,), and half of its 95 % interval."""
    gaps = first.double() - second.double()
    return float(gaps.mean()), 1.96 * float(gaps.std()) / sqrt(len(gaps))


def as_json(wrong: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """The numbers of the page."""
    found = {}
    for name, values in wrong.items():
        low, high = wilson(int(values.sum()), len(values))
        found[name] = {"error": float(torch.mean(values.double())), "low": low, "high": high, "images": len(values)}
    return found
