"""An entropy-based network of which concepts a graph has, and the formulas that it can be written as."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import Metric
from torchmetrics.classification import MultilabelF1Score

from zoo.core.class_formulas import ClassFormulas
from zoo.networks.entropy_head import EntropyHead
from zoo.networks.graph_batch import GraphBatch
from zoo.utils.checks import check_above, check_at_least


class PresenceLogic(nn.Module):
    """Scores (B, C) of counts (B, D) of concepts, by whether each is above 0.

    Args:
        classes: names of the C classes.
        concepts: D.
        hidden: hidden neurons of each class.
        temperature: of the attention to concepts.
        terms: maximum number of terms in the formula of a class.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self, classes: Sequence[str], concepts: int, hidden: int = 10, temperature: float = 0.6, terms: int = 8
    ) -> None:
        super().__init__()
        check_at_least(1, hidden=hidden, terms=terms)
        check_above(0, temperature=temperature)
        self.network = EntropyHead(concepts, len(classes), hidden, temperature)
        self.formulas = ClassFormulas(classes, concepts, terms)
        self.metrics = nn.ModuleDict({split: MultilabelF1Score(len(classes)) for split in ("val", "test")})

    def forward(self, counts: Tensor) -> Tensor:
        return self.network((counts > 0).float())

    def alternatives(self, counts: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The score of each row's target (B,) if each concept were "absent" or "present", (B, D) each."""
        here = (counts > 0).float()[:, None].expand(-1, counts.shape[1], -1)  # (B, D, D)
        one = torch.eye(counts.shape[1], device=counts.device)
        found = {}
        for name, changed in (("absent", here * (1 - one)), ("present", torch.maximum(here, one))):
            scores = self.network(changed.flatten(0, 1)).unflatten(0, changed.shape[:2])  # (B, D, C)
            found[name] = scores.gather(2, target[:, None, None].expand(-1, counts.shape[1], 1))[..., 0]
        return found

    def loss(self, scores: Tensor, target: Tensor, weights: tuple[Tensor | None, Tensor | None]) -> Tensor:
        """The binary cross-entropy of each class, a mean over rows and classes.

        Args:
            scores: (B, C).
            target: (B,).
            weights: (C,) of the classes, and (B,) of the rows, of mean 1.
        """
        classes, rows = weights
        errors = F.binary_cross_entropy_with_logits(scores, self._one_hot(target).to(scores), reduction="none").mean(1)
        errors = errors if rows is None else errors * rows
        return errors.mean() if classes is None else (errors * classes[target]).sum() / classes[target].sum()

    def extract(self, counts: Tensor, scores: Tensor, target: Tensor) -> None:
        """Finds the formulas of training graphs (N, D), (N, C) and (N,)."""
        self.formulas.extract(counts > 0, scores.argmax(1), target, self.network.kept())

    def update_metrics(self, split: str, counts: Tensor, target: Tensor) -> dict[str, Metric]:
        """The F1 score of the formulas as detectors of their classes, once there are some."""
        if split == "train" or not self.formulas.formula.any():
            return {}
        f1 = cast(MultilabelF1Score, self.metrics[split])
        f1.update(self.formulas.holds(counts > 0).int(), self._one_hot(target))
        return {"formula_f1": f1}

    def _one_hot(self, target: Tensor) -> Tensor:
        return F.one_hot(target, len(self.formulas.classes))


def soft_presence(hard: Tensor, soft: Tensor, batch: GraphBatch) -> Tensor:
    """Which concepts each graph has (B, D), 0 or 1, with the gradient of 1 - Π_i (1 - p_i).

    Args:
        hard: (N, D) one-hot concepts of the nodes.
        soft: p (N, D), their probabilities.
        batch: the graphs.
    """
    here = (batch.pool(hard) > 0).to(soft.dtype)
    likely = -torch.expm1(batch.pool(torch.log1p(-soft.clamp_max(1 - 1e-6))))
    return here + likely - likely.detach()
