"""What metrics share that need all rows at once: keep them, and give them back in an order of their own."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Pooled(Metric):
    """A metric that keeps what it was given until `compute`.

    Random splits and noise go by the place of a row. So that a result does not depend on batches, on the order of the
    data, or on which process saw which row, `pooled` sorts the rows by their content first.

    Attributes:
        title: short name for people.
        chance: the value where there is nothing to find, such as the AUC of a guess or the leakage of true labels;
            None where that depends on the data.
    """

    is_differentiable, full_state_update = False, False
    title: ClassVar[str] = ""
    chance: ClassVar[float | None] = None

    def __init__(self, *kept: str) -> None:
        super().__init__()
        self.kept = kept
        for name in kept:
            self.add_state(name, [], dist_reduce_fx="cat")

    def keep(self, **tensors: Tensor) -> None:
        """Adds the rows of a batch, one tensor for each name.

        Raises:
            ValueError: the tensors have different numbers of rows.
        """
        rows = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(rows.values())) > 1:
            got = ", ".join(f"{name} of {count}" for name, count in rows.items())
            raise ValueError(f"{type(self).__name__} needs as many rows of everything; got {got}.")
        for name, tensor in tensors.items():
            getattr(self, name).append(tensor.detach())

    def pooled(self) -> list[Tensor]:
        """All rows of each name, in an order that their content alone decides."""
        tensors = [dim_zero_cat(getattr(self, name)) for name in self.kept]
        rows = torch.cat([t.flatten(1).double() if t.ndim > 1 else t[:, None].double() for t in tensors], 1)
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(rows.shape[1], generator=draw, dtype=torch.float64).to(rows.device)
        order = (rows.nan_to_num(0.5) * direction).sum(1).argsort()  # 0.5 is no label
        return [t[order] for t in tensors]


def check_concepts(concepts: Tensor, who: str) -> None:
    """Refuses what is no table of concept labels.

    Raises:
        ValueError: not (B, k), or a value other than 0, 1 and NaN.
    """
    if concepts.ndim != 2:
        raise ValueError(f"{who} expects concepts (B, k); got {tuple(concepts.shape)}.")
    wrong = ~((concepts == 0) | (concepts == 1) | concepts.isnan())
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{who} expects concepts of 0, 1, or NaN where unknown; got {concepts[row, column].item():g} in row {row}, "
            f"column {column}. Give the true labels, not predictions."
        )


def check_representation(representation: Tensor, concepts: Tensor, who: str) -> None:
    """Refuses what is not one finite representation for each concept.

    Raises:
        ValueError: not (B, k) or (B, k, m) with the k of `concepts`, or values that are not finite.
    """
    check_concepts(concepts, who)
    if representation.ndim not in (2, 3) or representation.shape[1] != concepts.shape[1]:
        raise ValueError(
            f"{who} expects a number or a vector for each of the {concepts.shape[1]} concepts, "
            f"(B, {concepts.shape[1]}) or (B, {concepts.shape[1]}, m); got {tuple(representation.shape)}."
        )
    if not bool(representation.isfinite().all()):
        raise ValueError(f"{who} got NaN or infinite representations; only labels may be unknown (NaN).")
