"""The base class of metrics that need all rows at once: it stores them and returns them in a canonical order."""

from typing import ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Pooled(Metric):
    """A metric that stores its inputs until `compute`.

    Random splits and noise depend on the position of a row. `pooled` sorts the rows by their content, so that results
    do not depend on batches, the order of the data, or the number of processes.

    Attributes:
        title: name for people.
        chance: the value of an uninformative prediction, such as the AUC of a guess or the leakage of true labels;
            None if that depends on the data.
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
        """Adds a batch, one tensor per name.

        Raises:
            ValueError: the tensors have different numbers of rows.
        """
        rows = {name: len(tensor) for name, tensor in tensors.items()}
        if len(set(rows.values())) > 1:
            got = ", ".join(f"{name} of {count}" for name, count in rows.items())
            raise ValueError(f"{type(self).__name__} needs equal numbers of rows; got {got}.")
        for name, tensor in tensors.items():
            getattr(self, name).append(tensor.detach())

    def pooled(self) -> list[Tensor]:
        """All rows of each name, in an order that depends only on their content."""
        tensors = [dim_zero_cat(getattr(self, name)) for name in self.kept]
        rows = torch.cat([t.flatten(1).double() if t.ndim > 1 else t[:, None].double() for t in tensors], 1)
        draw = torch.Generator().manual_seed(0)
        direction = torch.randn(rows.shape[1], generator=draw, dtype=torch.float64).to(rows.device)
        order = (rows.nan_to_num(0.5) * direction).sum(1).argsort()  # 0.5 differs from both labels
        return [t[order] for t in tensors]


def check_concepts(concepts: Tensor, who: str) -> None:
    """Checks a table of concept labels.

    Raises:
        ValueError: the shape is not (B, k), or a value is not 0, 1 or NaN.
    """
    if concepts.ndim != 2:
        raise ValueError(f"{who} expects concepts (B, k); got {tuple(concepts.shape)}.")
    wrong = ~((concepts == 0) | (concepts == 1) | concepts.isnan())
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{who} expects concepts of 0, 1, or NaN where unknown; got {concepts[row, column].item():g} in row {row}, "
            f"column {column}. Pass the true labels, not predictions."
        )


def check_representation(representation: Tensor, concepts: Tensor, who: str) -> None:
    """Checks that there is one finite representation per concept.

    Raises:
        ValueError: the shape is not (B, k) or (B, k, m) with the k of `concepts`, or values are not finite.
    """
    check_concepts(concepts, who)
    if representation.ndim not in (2, 3) or representation.shape[1] != concepts.shape[1]:
        raise ValueError(
            f"{who} expects a scalar or a vector for each of the {concepts.shape[1]} concepts, "
            f"(B, {concepts.shape[1]}) or (B, {concepts.shape[1]}, m); got {tuple(representation.shape)}."
        )
    if not bool(representation.isfinite().all()):
        raise ValueError(f"{who} got NaN or infinite representations; only labels may be missing (NaN).")
