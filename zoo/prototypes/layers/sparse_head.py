"""A head of few non-negative weights, without bias: its training, its size metrics, and statements about its size."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.aggregation import MeanMetric

ACTIVE = 1e-3  # a prototype is part of a prediction if its contribution is above


def sparse_head(prototypes: int, classes: int, start: float = 1.0) -> nn.Linear:
    """A head whose weights start from N(start, (0.1 start)²)."""
    head = nn.Linear(prototypes, classes, bias=False)
    nn.init.normal_(head.weight, start, 0.1 * start)
    shrink_(head.weight, 0)
    return head


def shrink_(weight: Tensor, amount: float) -> None:
    """W = max(W - amount, 0) in place: keeps weights non-negative, and sets small ones to exactly 0."""
    with torch.no_grad():
        weight.sub_(amount).clamp_(min=0)


def relevant(weight: Tensor) -> Tensor:
    """(K,) which prototypes have a weight for any class, from weights (C, K); their number is the global size."""
    return (weight > 0).any(0)


def local_size(activation: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    """(B,) number of prototypes whose contribution to the target is above 1e-3.

    Args:
        activation: (B, K).
        weight: (C, K).
        target: (B,) classes.
    """
    return (activation * weight[target] > ACTIVE).sum(1)


class SizeMetrics(nn.Module):
    """Mean local size of the predicted classes, and global size, in validation and test."""

    def __init__(self) -> None:
        super().__init__()
        names = [f"{split}_{name}" for split in ("val", "test") for name in ("local_size", "global_size")]
        self.metrics = nn.ModuleDict({name: MeanMetric() for name in names})

    def update(self, split: str, scores: Tensor, activation: Tensor, weight: Tensor) -> dict[str, Metric]:
        """Adds a batch and returns the metrics of the split by name; none in "train".

        Args:
            split: "train", "val" or "test".
            scores: (B, C).
            activation: (B, K).
            weight: (C, K), 0 for prototypes that were removed.
        """
        if split == "train":
            return {}
        sizes = {
            "local_size": local_size(activation, weight, scores.argmax(1)),
            "global_size": relevant(weight).sum(),
        }
        found: dict[str, Metric] = {}
        for name, size in sizes.items():
            metric = self.metrics[f"{split}_{name}"]
            assert isinstance(metric, Metric)
            metric.update(size)
            found[name] = metric
        return found


def size_statements(
    terms: Mapping[str, Any], weight: Tensor, classes: Sequence[str], abstain_below: float
) -> tuple[str, ...]:
    """One sentence for each row: how many prototypes support the target, or that no class has evidence.

    Args:
        terms: of an explanation.
        weight: (C, K).
        classes: their names.
        abstain_below: a row whose scores are all below has no evidence for any class.
    """
    sizes = local_size(terms["activation"], weight, terms["target"]).tolist()
    low = (terms["scores"] < abstain_below).all(1).tolist()
    texts = []
    for target, size, none in zip(terms["target"].tolist(), sizes, low, strict=True):
        count = f"{size} prototype{'' if size == 1 else 's'} for {classes[target]}"
        texts.append(f"no evidence for any class: every score is below {abstain_below:g}" if none else count)
    return tuple(texts)
