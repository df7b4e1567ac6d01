"""What models that add up few, non-negative weights of prototypes share: projection, sizes, what they say in words."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.aggregation import MeanMetric

from zoo.core.evidence import Unit
from zoo.prototypes.layers.patches import PatchGallery

SPEAKS = 1e-3  # a prototype is part of a prediction from this contribution on


def shrink_(weight: Tensor, amount: float) -> None:
    """W = max(W - amount, 0) in place: keeps weights non-negative, and sets small ones to exactly 0."""
    with torch.no_grad():
        weight.sub_(amount).clamp_(min=0)


def relevant(weight: Tensor) -> Tensor:
    """(K,) which prototypes have a weight for any class, from weights (C, K); their number is the global size."""
    return (weight > 0).any(0)


def local_size(activation: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """(B,) how many prototypes speak for the target: their contribution is above 1e-3."""
    return (activation * weight[target] > SPEAKS).sum(1)


class Sizes(nn.Module):
    """Mean local size of the predicted classes, and global size, for validation and test."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics = nn.ModuleDict(
            {f"{split}_{name}": MeanMetric() for split in ("val", "test") for name in ("local_size", "global_size")}
        )

    def update(self, split: str, scores: Tensor, activation: Tensor, weight: Tensor) -> dict[str, Metric]:
        """Adds a batch; the metrics of the split by name, none of "train"."""
        if split == "train":
            return {}
        of = {name: self.metrics[f"{split}_{name}"] for name in ("local_size", "global_size")}
        of["local_size"].update(local_size(activation, weight, scores.argmax(1)))
        of["global_size"].update(relevant(weight).sum())
        return of  # pyright: ignore[reportReturnType]


def say(terms: Mapping[str, Any], weight: Tensor, classes: Sequence[str], abstain_below: float) -> tuple[str, ...]:
    """One sentence for each row: how many prototypes speak for the target, or that there is no evidence for any class.

    Args:
        terms: of an explanation.
        weight: (C, K).
        classes: their names.
        abstain_below: there is no evidence if every score is below.
    """
    sizes = local_size(terms["activation"], weight, terms["target"]).tolist()
    silent = (terms["scores"] < abstain_below).all(1).tolist()
    said = []
    for target, size, nothing in zip(terms["target"].tolist(), sizes, silent, strict=True):
        speak = f"{size} prototype{'' if size == 1 else 's'} for {classes[target]}"
        said.append(f"no evidence for any class: every score is below {abstain_below:g}" if nothing else speak)
    return tuple(said)


def units_of(gallery: PatchGallery, weight: Tensor, alive: Tensor, classes: Sequence[str]) -> tuple[Unit, ...]:
    """The prototypes, numbered from 1, with their pictures and the classes that they have a weight for.

    A prototype with a weight for one class only belongs to that class; what is not `alive` (K,) says so.
    """
    pictures, units = gallery.first.picture.cpu(), []
    rows = zip(gallery.sources(), weight.T.tolist(), alive.tolist(), strict=True)
    for k, (source, column, there) in enumerate(rows):
        given = {classes[c]: column[c] for c in sorted(range(len(classes)), key=lambda c: -column[c]) if column[c] > 0}
        target = classes.index(next(iter(given))) if len(given) == 1 else None
        picture = pictures[k] if source else None
        source = {**source, "weights": given} if given else {**source, "relevant": False}
        source = source if there else {**source, "pruned": True}
        units.append(Unit(f"prototype {k + 1}", "prototype", target, source, picture))
    return tuple(units)
