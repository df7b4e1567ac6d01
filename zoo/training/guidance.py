"""Guidance: the evidence on the label of a training image is to lie where a mask says.

Rao, Böhle, Parchami-Araghi, Schiele: "Studying How to Efficiently and Effectively Guide Models with Explanations", ICCV
2023, arXiv 2303.11932 (the Energy loss).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.domain import Domain
from zoo.training.batch import Batch
from zoo.training.modes import evaluating
from zoo.utils.checks import check_above

MASK = "relevant"
TINY = 1e-9


@dataclass(frozen=True)
class Guidance:
    """How much a model learns from masks of what is relevant in training images.

    Raises:
        ValueError: a weight that is not above 0, or a share of rows outside of (0, 1].
    """

    weight: float = 1.0
    """Weight of the loss, which is in [0, 1]."""
    rows: float = 0.25
    """Share of the rows of each batch that it is computed on, in (0, 1]; each costs another pass."""

    def __post_init__(self) -> None:
        check_above(0, weight=self.weight)
        if not 0 < self.rows <= 1:
            raise ValueError(f"guidance.rows must be in (0, 1]; got {self.rows}.")


class GuidanceTerm:
    """The loss term of masks M, NaN throughout an image without one.

        guidance = mean over images with a mask of 1 - Σ M A / Σ A

    A is the map of the evidence on the label, see `SelfInterpretable.heat`, and M the share of each of its cells that
    is marked. Everything runs in evaluation mode, in which a model has supports and explains.

    Differs from the published code: A is the model's own explanation, and evidence against the label counts as well
    (there: attributions above 0); masks may be of any shape (there: boxes); one class for each image (there: one of
    several).

    Args:
        options: see `Guidance`.
        domain: of the model.
        additive: whether the model has contributions.
        name: of the model, for error messages.

    Raises:
        ValueError: inputs that are not images, another task than one class each, or a model without contributions.
    """

    def __init__(self, options: Guidance, domain: Domain, additive: bool, name: str) -> None:
        if domain.modality != "image":
            raise ValueError(f"guidance needs images with masks, and {name} reads {domain.noun}; leave it out.")
        if domain.task != "classification":
            raise ValueError(f"guidance needs one class for each image, and {name} has a {domain.task}; leave it out.")
        if not additive:
            raise ValueError(f"{name} has no contributions, of which guidance could say where they lie; leave it out.")
        self.options, self.name = options, name

    def __call__(self, model: Any, batch: Batch, scores: Tensor) -> dict[str, Tensor]:
        """The weighted term of a batch, by name; none in stages in which the units have no supports yet.

        Args:
            model: that trains.
            batch: of the step, with "relevant" (B, H, W) in [0, 1].
            scores: of the batch, not used.

        Raises:
            ValueError: there are no masks, or the units of a finished model have no supports.
        """
        require_masks(batch)
        masks, x = batch[MASK], batch["input"]
        chosen = torch.randperm(len(x), device=masks.device)[: max(round(self.options.rows * len(x)), 1)]
        with evaluating(model):
            heat = model.heat(x[chosen].as_subclass(type(x)), batch["target"][chosen])  # `Features` stay such
        if heat is None:
            if model.in_last_stage:
                raise ValueError(f"the units of {self.name} have no location in the input; leave guidance out.")
            return {}
        known = ~masks[chosen].flatten(1).isnan().any(1)
        marked = F.adaptive_avg_pool2d(masks[chosen].nan_to_num()[:, None], heat.shape[1:])[:, 0]
        outside = 1 - (heat * marked).sum((1, 2)) / heat.sum((1, 2)).clamp_min(TINY)
        return {"guidance": self.options.weight * (outside * known).sum() / known.sum().clamp_min(1)}


def require_masks(item: Mapping[str, Any]) -> None:
    """Refuses items or batches without masks.

    Raises:
        ValueError: how to give them.
    """
    if MASK not in item:
        raise ValueError(
            "guidance needs masks of what is relevant, and the data have none; give them, such as "
            "data.init_args.masks of ImageFolder or PartBirds, or leave guidance out."
        )
